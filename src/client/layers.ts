/**
 * The layers of containers on local disk: each an entry of the cache of its own, under its diff id, which holds the archive
 * uncompressed. All images that have the layer share it. A layer is fetched whole, once, and indexed while it arrives. Nothing
 * reads it before the digests of blob and archive were compared. Layers with a table of contents are read in parts instead
 * (toc-layers.ts).
 */
import { createReadStream } from 'node:fs';
import { SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { ImageCache, Transfer } from '../cache/cache.ts';
import { describe } from '../cache/entry-key.ts';
import type { GrowingFile } from '../cache/growing-file.ts';
import type { RangeSource } from '../cache/receive.ts';
import type { State } from '../catalog/state.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import { packEntries } from '../image/layers/packed-entries.ts';
import { indexTar } from '../image/layers/tar.ts';
import type { RemoteImage } from '../image/remote.ts';
import { type FetchedLayer, fetchLayer } from './fetch-layer.ts';
import { type LayerOptions, type LayerSource, type OpenLayer, sourceOf, TARGET } from './open-layer.ts';
import { remembered } from './remembered.ts';
import { entryUriOf, TocLayers } from './toc-layers.ts';

/** By how much compressed archives grow, as a first guess. */
const GROWTH = 3;

export class Layers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #byToc: TocLayers;
  readonly #flights = new SingleFlight<number>();
  readonly #transfers = new Map<string, { uri: string; size: number; cached: number }>();
  #fetchedBytes = 0;

  constructor(cache: ImageCache, state: State) {
    this.#cache = cache;
    this.#state = state;
    this.#byToc = new TocLayers(cache, state);
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes + this.#byToc.fetchedBytes;
  }

  /** Layers that are being fetched whole. */
  get transfers(): Transfer[] {
    return [...this.#transfers.values()].map((transfer) => ({
      ...transfer,
      pending: transfer.size - transfer.cached,
    }));
  }

  /** Bytes of a layer on local disk. */
  cachedBytes({ diffId, toc }: LayerBlob): number {
    const inParts = toc === undefined ? undefined : this.#byToc.cachedBytes(toc);
    if (inParts !== undefined) return inParts;
    return remembered(this.#state, ({ cacheIndex }) => cacheIndex.entries.findVerified(diffId)?.bytes) ?? 0;
  }

  /**
   * Opens a layer, after fetching what is absent: only its table of contents, if it is read by one.
   * @throws {SregistryError} as {@link fetchLayer} or {@link TocLayers.open}; also the errors of its source.
   */
  async open(layer: LayerSource, options: LayerOptions = {}): Promise<OpenLayer> {
    const inParts = layer.toc && (await this.#byToc.open(layer, layer.toc, options));
    return inParts ?? this.#openWhole(layer, options);
  }

  async #openWhole(layer: LayerSource, options: LayerOptions): Promise<OpenLayer> {
    const size = this.#stored(layer) ?? (await this.#join(layer, options));
    const cached = this.#cache.open(TARGET, entryOf(layer, size), this.#again(layer));
    try {
      // Damaged, or the cache had no place for it.
      if (!cached.complete) await cached.fetchAll(undefined, options.signal);
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
    const source = sourceOf(cached);
    return {
      ...source,
      entries: async () =>
        remembered(this.#state, ({ layers }) => layers.entriesOf(layer.diffId)) ??
        packEntries(await indexTar(source, layer.title)),
      [Symbol.asyncDispose]: () => this.#cache.close(cached),
    };
  }

  /** Ends the fetches under way: nothing of theirs is written afterwards. */
  async close(): Promise<void> {
    const reason = new SregistryError('CANCELED', 'The fetch of a layer was ended');
    await Promise.all([this.#flights.abort(reason), this.#byToc.close(reason)]);
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

/** URIs of the entries of the cache that may hold a layer: its archive, and what its table of contents leads to. */
export function entriesFor(layer: LayerBlob): string[] {
  const whole = describe(TARGET, entryOf(layer, 0)).uri;
  return layer.toc === undefined ? [whole] : [whole, entryUriOf(layer.toc)];
}

/** The layer as an image of the cache. */
function entryOf({ diffId }: LayerBlob, size: number): RemoteImage {
  const [algorithm = '', hex = ''] = diffId.split(':');
  const name = { collection: '', image: algorithm, tag: hex };
  return { name, size, digest: diffId, revision: diffId, sequential: true, handle: {} };
}
