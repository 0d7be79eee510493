/** The archive in the blob of a layer, compared with the digests of both. */
import { createHash, type Hash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { isError, SregistryError, systemCode } from '../../base/errors.ts';
import { decompressor, MAGIC_SIZE } from './compression.ts';

/** What is compared. */
export interface LayerDigests {
  /** Names the layer in errors. */
  readonly title: string;
  /** Of the blob: `sha256:<hex>` or `sha512:<hex>`. */
  readonly digest: string;
  /** `sha256:<hex>` of the archive. */
  readonly diffId: string;
}

const FETCH_ANEW =
  'Open the image again to fetch it anew; if it fails again, the registry stores wrong bytes';

/**
 * The bytes of the archive. They count only if all of them were taken without an error.
 * @throws {SregistryError} CORRUPT if blob or archive has another digest or cannot be decompressed; errors of `blob`.
 */
export async function* unpackLayer(
  { title, digest, diffId }: LayerDigests,
  blob: AsyncIterable<Buffer>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const [outer, inner] = [hashFor(digest), hashFor(diffId)];
  const arrived = async function* () {
    for await (const chunk of blob) {
      signal.throwIfAborted();
      outer.update(chunk);
      yield chunk;
    }
  };
  try {
    for await (const chunk of decompress(arrived(), signal)) {
      inner.update(chunk);
      yield chunk;
    }
  } catch (error) {
    if (!/^(Z_|ZSTD_|ERR_ZSTD)/.test(systemCode(error) ?? '') && !isError(error, 'NOT_AN_IMAGE')) throw error;
    throw new SregistryError('CORRUPT', `${title} cannot be decompressed`, {
      hint: FETCH_ANEW,
      cause: error,
    });
  }
  compare(title, outer, digest, 'blob');
  compare(title, inner, diffId, 'archive');
}

async function* decompress(chunks: AsyncGenerator<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < MAGIC_SIZE) {
    const { done, value } = await chunks.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  const all = async function* () {
    yield head;
    yield* chunks;
  };
  const unpacking = decompressor(head);
  if (unpacking === undefined) {
    yield* all();
  } else {
    const fed = pipeline(unpacking.cut(all()), unpacking.stream, { signal });
    fed.catch(() => {});
    yield* unpacking.stream as AsyncIterable<Buffer>;
    await fed;
  }
  // What follows the compressed data belongs to the blob as well.
  for await (const _ of chunks);
}

function hashFor(digest: string): Hash {
  return createHash(digest.startsWith('sha512:') ? 'sha512' : 'sha256');
}

function compare(title: string, hash: Hash, wanted: string, what: string): void {
  const algorithm = wanted.slice(0, wanted.indexOf(':'));
  const found = `${algorithm}:${hash.digest('hex')}`;
  if (found === wanted) return;
  throw new SregistryError('CORRUPT', `${title} was damaged: its ${what} has ${found}, not ${wanted}`, {
    hint: FETCH_ANEW,
  });
}
