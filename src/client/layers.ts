/**
 * The layers of containers on local disk: each an entry of the cache of its own, under its diff id, which holds the archive
 * uncompressed. All images that have the layer share it. A layer is fetched whole, once, and indexed while it arrives. Nothing
 * reads it before the digests of blob and archive were compared.
 */
import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isError, SregistryError, systemCode } from '../base/errors.ts';
import { SingleFlight } from '../base/single-flight.ts';
import type { ImageCache, Transfer } from '../cache/cache.ts';
import type { RangeSource } from '../cache/receive.ts';
import type { KnownLayer } from '../catalog/layers.ts';
import type { State } from '../catalog/state.ts';
import { decompressor, MAGIC_SIZE } from '../image/layers/compression.ts';
import type { LayerEntry } from '../image/layers/entry.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import type { ReadBlob } from '../image/layers/spans.ts';
import { indexTar, TarIndexer } from '../image/layers/tar.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { ByteSource } from '../image/source.ts';
import { remembered } from './remembered.ts';

/** Stands where entries of the cache have their service: a layer's bytes are compared with its name, whoever sent them. */
const TARGET = 'layer';
/** By how much compressed archives grow, as a first guess. */
const GROWTH = 3;

/** A layer, and where to get it. */
export interface LayerSource extends LayerBlob {
  /** Names it in errors and in the list of transfers. */
  readonly title: string;
  /** Exactly `length` bytes of the blob from `offset`. */
  readonly read: ReadBlob;
}

export interface LayerOptions {
  /** Ends the wait; a fetch that nobody waits for any more ends too. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of each chunk of the blob that arrives; not if others fetch it. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** The uncompressed archive of a layer. Closing it lets the cache evict it. */
export interface OpenLayer extends ByteSource, AsyncDisposable {
  readonly entries: readonly LayerEntry[];
}

export class Layers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #flights = new SingleFlight<KnownLayer>();
  readonly #transfers = new Map<string, { uri: string; size: number; cached: number }>();
  #fetchedBytes = 0;

  constructor(cache: ImageCache, state: State) {
    this.#cache = cache;
    this.#state = state;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Layers that are being fetched. */
  get transfers(): Transfer[] {
    return [...this.#transfers.values()].map((transfer) => ({
      ...transfer,
      pending: transfer.size - transfer.cached,
    }));
  }

  /** Bytes of a layer on local disk. */
  cachedBytes({ diffId }: LayerBlob): number {
    return remembered(this.#state, ({ cacheIndex }) => cacheIndex.entries.findVerified(diffId)?.bytes) ?? 0;
  }

  /**
   * Opens a layer, after fetching what is absent.
   * @throws {SregistryError} CORRUPT if it has other digests, NOT_AN_IMAGE or NOT_PRESENTABLE as {@link TarIndexer}, NO_SPACE if
   *   the cache has no room; also the errors of its source.
   */
  async open(layer: LayerSource, options: LayerOptions = {}): Promise<OpenLayer> {
    const known =
      this.#known(layer) ??
      (await this.#flights.join(
        layer.diffId,
        (call) => this.#fetch(layer, { ...options, signal: call.signal }),
        options.signal,
      ));
    const cached = this.#cache.open(TARGET, entryOf(layer, known.size), this.#again(layer));
    try {
      // Evicted, or damaged, since it was indexed.
      if (!cached.complete) await cached.fetchAll(undefined, options.signal);
      const ahead = cached.readAhead();
      const source: ByteSource = {
        size: known.size,
        read: async (offset, length) => {
          const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, known.size - offset)));
          return bytes.subarray(0, await cached.read(bytes, offset, bytes.length, ahead));
        },
      };
      const entries = known.entries ?? (await indexTar(source, layer.title));
      return { ...source, entries, [Symbol.asyncDispose]: () => this.#cache.close(cached) };
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
  }

  #known({ diffId }: LayerBlob): KnownLayer | undefined {
    return remembered(this.#state, ({ layers }) => layers.get(diffId));
  }

  /** Fetches a layer of which nothing is known. */
  async #fetch(layer: LayerSource, options: LayerOptions & { signal: AbortSignal }): Promise<KnownLayer> {
    const { diffId, size } = layer;
    for (;;) {
      await using file = await this.#cache.begin(`${TARGET}-${diffId}`, size * GROWTH, options.signal);
      // Another process may have fetched it in the meantime.
      const known = this.#known(layer);
      if (known !== undefined) return known;
      if (file === undefined) continue;
      const indexer = new TarIndexer(layer.title);
      let malformed: unknown;
      await this.#receive(layer, options, async (chunk) => {
        try {
          if (malformed === undefined) indexer.push(chunk);
        } catch (error) {
          if (!isError(error, 'NOT_AN_IMAGE')) throw error;
          // Whether the registry has it so, or it was damaged, the digests say.
          malformed = error;
        }
        if (malformed === undefined) await file.write(chunk);
      });
      if (malformed !== undefined) throw malformed;
      const fetched = { size: file.size, entries: indexer.end() };
      await file.finish();
      await this.#cache.adopt(TARGET, entryOf(layer, file.size), file.path);
      remembered(this.#state, ({ layers }) => layers.put(diffId, fetched));
      return fetched;
    }
  }

  /** Hands the archive to `take`, chunk by chunk. What was taken counts only if this resolves: then both digests are right. */
  async #receive(
    layer: LayerSource,
    { signal, onBytes }: LayerOptions & { signal: AbortSignal },
    take: (chunk: Buffer) => Promise<void>,
  ): Promise<void> {
    const { diffId, title } = layer;
    const transfer = { uri: title, size: layer.size, cached: 0 };
    this.#transfers.set(diffId, transfer);
    const archive = createHash('sha256');
    try {
      const chunks = unpack(layer, signal, (bytes) => {
        transfer.cached += bytes;
        this.#fetchedBytes += bytes;
        onBytes?.(bytes);
      });
      for await (const chunk of chunks) {
        archive.update(chunk);
        await take(chunk);
      }
    } finally {
      this.#transfers.delete(diffId);
    }
    compare(layer, archive, diffId, 'archive');
  }

  /** The archive once more, for an entry that lost bytes. The cache compares the whole with the diff id. */
  #again(layer: LayerSource): RangeSource {
    return async (offset, length, signal) =>
      Readable.from(
        part(
          unpack(layer, signal, () => {}),
          offset,
          length,
        ),
        { objectMode: false },
      );
  }
}

/** The layer as an image of the cache. */
function entryOf({ diffId }: LayerBlob, size: number): RemoteImage {
  const [algorithm = '', hex = ''] = diffId.split(':');
  const name = { collection: '', image: algorithm, tag: hex };
  return { name, size, digest: diffId, revision: diffId, sequential: true, handle: {} };
}

/** The uncompressed bytes of a blob. Ends with CORRUPT if the blob does not have its digest. */
async function* unpack(
  layer: LayerSource,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  const { digest, title } = layer;
  const blob = createHash(digest.startsWith('sha512:') ? 'sha512' : 'sha256');
  const stream = await layer.read(0, layer.size, signal);
  const arrived = async function* () {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      blob.update(chunk);
      onBytes(chunk.length);
      yield chunk;
    }
  };
  try {
    const chunks = arrived();
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
  } catch (error) {
    if (!/^(Z_|ZSTD_|ERR_ZSTD)/.test(systemCode(error) ?? '') && !isError(error, 'NOT_AN_IMAGE')) throw error;
    throw new SregistryError('CORRUPT', `${title} cannot be decompressed`, { cause: error });
  } finally {
    stream.destroy();
  }
  compare(layer, blob, digest, 'blob');
}

function compare({ title }: LayerSource, hash: Hash, wanted: string, what: string): void {
  const algorithm = wanted.slice(0, wanted.indexOf(':'));
  const found = `${algorithm}:${hash.digest('hex')}`;
  if (found === wanted) return;
  throw new SregistryError('CORRUPT', `${title} was damaged: its ${what} has ${found}, not ${wanted}`, {
    hint: 'Open the image again to fetch it anew; if it fails again, the registry stores wrong bytes',
  });
}

async function* part(chunks: AsyncIterable<Buffer>, offset: number, length: number): AsyncGenerator<Buffer> {
  let [skip, left] = [offset, length];
  for await (const chunk of chunks) {
    const wanted = chunk.subarray(Math.min(skip, chunk.length)).subarray(0, left);
    skip -= Math.min(skip, chunk.length);
    left -= wanted.length;
    if (wanted.length > 0) yield wanted;
  }
}
