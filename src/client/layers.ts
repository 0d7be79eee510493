/**
 * The layers of containers on local disk: each an entry of the cache of its own, under its diff id, which holds the archive
 * uncompressed. All images that have the layer share it. A layer is fetched whole, once, and indexed while it arrives. Nothing
 * reads it before the digests of blob and archive were compared.
 */
import { createReadStream } from 'node:fs';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { ImageCache, Transfer } from '../cache/cache.ts';
import type { GrowingFile } from '../cache/growing-file.ts';
import type { RangeSource } from '../cache/receive.ts';
import type { State } from '../catalog/state.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import { packEntries } from '../image/layers/packed-entries.ts';
import type { ReadBlob } from '../image/layers/spans.ts';
import { indexTar } from '../image/layers/tar.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { ByteSource } from '../image/source.ts';
import { type FetchedLayer, fetchLayer } from './fetch-layer.ts';
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
  /** What is in it, see packed-entries.ts. */
  entries(): Promise<Uint8Array>;
}

export class Layers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #flights = new SingleFlight<number>();
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
   * @throws {SregistryError} as {@link fetchLayer}; also the errors of its source.
   */
  async open(layer: LayerSource, options: LayerOptions = {}): Promise<OpenLayer> {
    const size = this.#stored(layer) ?? (await this.#join(layer, options));
    const cached = this.#cache.open(TARGET, entryOf(layer, size), this.#again(layer));
    try {
      // Damaged, or the cache had no place for it.
      if (!cached.complete) await cached.fetchAll(undefined, options.signal);
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
    const ahead = cached.readAhead();
    const source: ByteSource = {
      size,
      read: async (offset, length) => {
        const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
        return bytes.subarray(0, await cached.read(bytes, offset, bytes.length, ahead));
      },
    };
    return {
      ...source,
      entries: async () =>
        remembered(this.#state, ({ layers }) => layers.entriesOf(layer.diffId)) ??
        packEntries(await indexTar(source, layer.title)),
      [Symbol.asyncDispose]: () => this.#cache.close(cached),
    };
  }

  /** Bytes of the archive, if the cache holds it whole. */
  #stored({ diffId }: LayerBlob): number | undefined {
    return remembered(this.#state, ({ cacheIndex }) => cacheIndex.entries.findVerified(diffId)?.size);
  }

  /** Bytes of the archive, once it is fetched. Who asks for one layer at a time shares the fetch. */
  #join(layer: LayerSource, options: LayerOptions): Promise<number> {
    const fetch = ({ signal }: SharedCall) => this.#fetch(layer, { ...options, signal });
    return this.#flights.join(layer.diffId, fetch, options.signal);
  }

  async #fetch(layer: LayerSource, options: LayerOptions & { signal: AbortSignal }): Promise<number> {
    for (;;) {
      await using file = await this.#begin(layer, options.signal);
      // Another process may have fetched it in the meantime.
      const stored = this.#stored(layer);
      if (stored !== undefined) return stored;
      if (file === undefined) continue;
      const { size, sums, entries } = await this.#receive(layer, file, options);
      file.finish();
      await this.#cache.adopt(TARGET, entryOf(layer, size), file.path, sums);
      remembered(this.#state, ({ layers }) => layers.put(layer.diffId, entries));
      return size;
    }
  }

  #begin({ diffId, size }: LayerBlob, signal: AbortSignal): Promise<GrowingFile | undefined> {
    return this.#cache.begin(`${TARGET}-${diffId}`, size * GROWTH, signal);
  }

  async #receive(
    layer: LayerSource,
    file: GrowingFile,
    { signal, onBytes }: LayerOptions & { signal: AbortSignal },
  ): Promise<FetchedLayer> {
    const transfer = { uri: layer.title, size: layer.size, cached: 0 };
    this.#transfers.set(layer.diffId, transfer);
    const count = (bytes: number) => {
      transfer.cached += bytes;
      this.#fetchedBytes += bytes;
      onBytes?.(bytes);
    };
    try {
      const blob = await layer.read(0, layer.size, signal);
      return await fetchLayer(layer, blob, file, signal, count);
    } finally {
      this.#transfers.delete(layer.diffId);
    }
  }

  /** The archive once more, for an entry that lost bytes: all of it is compared before any of it is used. */
  #again(layer: LayerSource): RangeSource {
    return async (offset, length, signal) => {
      for (;;) {
        const file = await this.#begin(layer, signal);
        if (file === undefined) continue;
        try {
          await this.#receive(layer, file, { signal });
          const part = createReadStream(file.path, { start: offset, end: offset + length - 1 });
          return part.once('close', () => void file[Symbol.asyncDispose]());
        } catch (error) {
          await file[Symbol.asyncDispose]();
          throw error;
        }
      }
    };
  }
}

/** The layer as an image of the cache. */
function entryOf({ diffId }: LayerBlob, size: number): RemoteImage {
  const [algorithm = '', hex = ''] = diffId.split(':');
  const name = { collection: '', image: algorithm, tag: hex };
  return { name, size, digest: diffId, revision: diffId, sequential: true, handle: {} };
}
