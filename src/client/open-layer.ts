/** A layer of a container: where to get it, and what opening it gives. */
import { Readable } from 'node:stream';
import { NoRangesError } from '../backends/http.ts';
import type { ImageCache } from '../cache/cache.ts';
import type { CachedImage } from '../cache/image.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import type { ReadBlob, SpanData } from '../image/layers/spans.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { ByteSource } from '../image/source.ts';

/** Stands where entries of the cache have their service: a layer's bytes are compared with digests, whoever sent them. */
export const TARGET = 'layer';

/** A layer, and where to get it. */
export interface LayerSource extends LayerBlob {
  /** Names it in errors and in the list of transfers. */
  readonly title: string;
  /** Exactly `length` bytes of the blob from `offset`. */
  readonly read: ReadBlob;
  /** The same of its ztoc, if it has one. */
  readonly readZtoc?: ReadBlob | undefined;
}

export interface LayerOptions {
  /** Ends the wait; a fetch that nobody waits for any more ends too. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of each chunk of the blob that arrives before the layer is open; not if others fetch it. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  /** Fetch all of it, even if it can be read in parts. */
  readonly whole?: boolean | undefined;
}

/** The data of a layer: its uncompressed archive, or the contents of its files. Closing it lets the cache evict it. */
export interface OpenLayer extends ByteSource, AsyncDisposable {
  /** What is in it, see packed-entries.ts; `offset` of a file is its place in the data. */
  entries(): Promise<Uint8Array>;
}

/** The archive of a layer as an image of the cache. */
export function entryOf({ diffId }: LayerBlob, size: number): RemoteImage {
  const [algorithm = '', hex = ''] = diffId.split(':');
  const name = { collection: '', image: algorithm, tag: hex };
  return { name, size, digest: diffId, revision: diffId, handle: {} };
}

/** The bytes of an open entry of the cache. */
export function sourceOf(cached: CachedImage): ByteSource {
  const { size } = cached;
  const ahead = cached.readAhead();
  return {
    size,
    read: async (offset, length) => {
      const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
      return bytes.subarray(0, await cached.read(bytes, offset, bytes.length, ahead));
    },
  };
}

/** All bytes of a range of a blob. @param count is called with the bytes as they arrive. */
export async function readPart(
  read: ReadBlob,
  offset: number,
  length: number,
  signal: AbortSignal,
  count: (bytes: number) => void,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of (await read(offset, length, signal)) as AsyncIterable<Buffer>) {
    count(part.length);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/**
 * Opens an entry of the cache that fills span by span as it is read.
 * @throws {SregistryError} the errors of the data, if all of it is wanted.
 */
export async function openInParts(
  cache: ImageCache,
  image: RemoteImage,
  data: SpanData,
  { whole, signal }: LayerOptions,
): Promise<CachedImage> {
  const stream = async (offset: number, length: number, stop: AbortSignal) =>
    data.stream(offset, length, stop);
  const cached = cache.open(TARGET, image, Object.assign(stream, { decoded: data }));
  try {
    if (whole) await cached.fetchAll(undefined, signal);
    return cached;
  } catch (error) {
    await cache.close(cached);
    throw error;
  }
}

/**
 * Reads ranges also where the registry knows none: then all that is before them comes as well.
 * @param onNoRanges is called when that shows.
 */
export function readAnyway(read: ReadBlob, onNoRanges: () => void): ReadBlob {
  return async (offset, length, signal) => {
    try {
      return await read(offset, length, signal);
    } catch (error) {
      if (!(error instanceof NoRangesError)) throw error;
      onNoRanges();
      const stream = await read(0, offset + length, signal);
      return Readable.from(behind(stream, offset), { objectMode: false });
    }
  };
}

/** What a stream has behind its first `skip` bytes. */
async function* behind(stream: Readable, skip: number): AsyncGenerator<Buffer> {
  let left = skip;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (left < chunk.length) yield chunk.subarray(left);
    left -= Math.min(left, chunk.length);
  }
}
