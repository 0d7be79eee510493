/** A layer of a container: where to get it, and what opening it gives. */
import type { CachedImage } from '../cache/image.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import type { ReadBlob } from '../image/layers/spans.ts';
import type { ByteSource } from '../image/source.ts';

/** Stands where entries of the cache have their service: a layer's bytes are compared with digests, whoever sent them. */
export const TARGET = 'layer';

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
