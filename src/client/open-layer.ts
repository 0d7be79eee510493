/** A layer of a container: where to get it, and what opening it gives. */
import type { CachedImage } from '../cache/image.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import type { ReadBlob } from '../image/layers/spans.ts';
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
}

export interface LayerOptions {
  /** Ends the wait; a fetch that nobody waits for any more ends too. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of each chunk of the blob that arrives before the layer is open; not if others fetch it. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** The uncompressed archive of a layer. Closing it lets the cache evict it. */
export interface OpenLayer extends ByteSource, AsyncDisposable {
  /** What is in it, see packed-entries.ts. */
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
