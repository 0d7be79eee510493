/**
 * The layers of containers on local disk: each an entry of the cache of its own, under its diff id, which holds the archive
 * uncompressed. All images that have the layer share it. A layer is fetched whole, once, and indexed while it arrives. Nothing
 * reads it before the digests of blob and archive were compared. Some layers are read in parts instead: those with a table of contents
 * (toc-layers.ts) or a ztoc (soci-layers.ts), and those that were fetched before and that the cache has lost (restart-layers.ts).
 */
import { createReadStream } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { ImageCache, Transfer } from '../cache/cache.ts';
import { describe } from '../cache/entry-key.ts';
import type { GrowingFile } from '../cache/growing-file.ts';
import type { CachedImage } from '../cache/image.ts';
import type { RangeSource } from '../cache/receive.ts';
import type { State } from '../catalog/state.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import { packEntries } from '../image/layers/packed-entries.ts';
import type { RecentSpans } from '../image/layers/spans.ts';
import { indexTar } from '../image/layers/tar.ts';
import { markOf } from '../image/layers/toc-place.ts';
import { type FetchedLayer, fetchLayer } from './fetch-layer.ts';
import {
  entryOf,
  type LayerOptions,
  type LayerSource,
  type OpenLayer,
  sourceOf,
  TARGET,
} from './open-layer.ts';
import { remembered } from './remembered.ts';
import { type Recording, RestartLayers } from './restart-layers.ts';
import { SociLayers, sociUriOf } from './soci-layers.ts';
import { entryUriOf, TocLayers } from './toc-layers.ts';

/** By how much compressed archives grow, as a first guess. */
const GROWTH = 3;
/** Bytes of decoded spans that are kept in memory, of all layers together. */
const RECENT = 64 * 1024 * 1024;

export class Layers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #byToc: TocLayers;
  readonly #bySoci: SociLayers;
  readonly #byPoints: RestartLayers;
  readonly #flights = new SingleFlight<number>();
  readonly #transfers = new Map<string, { uri: string; size: number; cached: number }>();
  /** Ends of files that somebody still reads. */
  readonly #releases = new Set<Promise<void>>();
  #fetchedBytes = 0;

  constructor(cache: ImageCache, state: State) {
    this.#cache = cache;
    this.#state = state;
    const recent: RecentSpans = new LRUCache({ maxSize: RECENT, sizeCalculation: ({ length }) => length });
    this.#byToc = new TocLayers(cache, state, recent);
    this.#bySoci = new SociLayers(cache, state, recent);
    this.#byPoints = new RestartLayers(cache, recent);
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    const inParts = [this.#byToc, this.#bySoci, this.#byPoints];
    return inParts.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, this.#fetchedBytes);
  }

  /** Layers that are being fetched whole. */
  get transfers(): Transfer[] {
    return [...this.#transfers.values()].map((transfer) => ({
      ...transfer,
      pending: transfer.size - transfer.cached,
    }));
  }

  /** Bytes of a layer on local disk. */
  cachedBytes(layer: LayerBlob): number {
    const { diffId, toc } = layer;
    const inParts = toc === undefined ? undefined : this.#byToc.cachedBytes(layer, toc);
    if (inParts !== undefined) return inParts;
    const whole = remembered(this.#state, ({ cacheIndex }) => cacheIndex.entries.findVerified(diffId));
    return whole?.bytes ?? this.#bySoci.cachedBytes(layer) ?? this.#byPoints.cachedBytes(layer);
  }

  /** Resolves when the restart points of all layers that were fetched are kept. */
  settled(): Promise<void> {
    return this.#byPoints.settled();
  }

  /**
   * Opens a layer, after fetching what is absent: only its table of contents or ztoc, if it is read by one, and nothing if it was fetched before
   * and has restart points.
   * @throws {SregistryError} as {@link fetchLayer} or {@link TocLayers.open}; also the errors of its source.
   */
  async open(layer: LayerSource, options: LayerOptions = {}): Promise<OpenLayer> {
    const inParts = layer.toc && (await this.#byToc.open(layer, layer.toc, options));
    if (inParts !== undefined) return inParts;
    const isHere = layer.ztoc === undefined || this.#stored(layer) !== undefined;
    const byZtoc = isHere ? undefined : await this.#bySoci.open(layer, layer.ztoc, options);
    return byZtoc ?? this.#openArchive(layer, options);
  }

  async #openArchive(layer: LayerSource, options: LayerOptions): Promise<OpenLayer> {
    const stored = this.#stored(layer);
    const inParts = stored === undefined ? await this.#byPoints.open(layer, options) : undefined;
    const cached = inParts ?? (await this.#openWhole(layer, stored, options));
    const source = sourceOf(cached);
    const entries = async () => this.#entriesOf(layer) ?? packEntries(await indexTar(source, layer.title));
    try {
      const { ztoc } = layer;
      if (ztoc !== undefined && cached.complete && !this.#bySoci.isCompared(ztoc))
        this.#bySoci.compare(ztoc, layer, await entries());
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
    return { ...source, entries, [Symbol.asyncDispose]: () => this.#cache.close(cached) };
  }

  /** What the reader of archives found in a layer. */
  #entriesOf({ diffId }: LayerBlob): Uint8Array | undefined {
    return remembered(this.#state, ({ layers }) => layers.entriesOf(diffId));
  }

  async #openWhole(
    layer: LayerSource,
    stored: number | undefined,
    options: LayerOptions,
  ): Promise<CachedImage> {
    const size = stored ?? (await this.#join(layer, options));
    const image = { ...entryOf(layer, size), sequential: true };
    const cached = this.#cache.open(TARGET, image, this.#again(layer));
    try {
      // Damaged, or the cache had no place for it.
      if (!cached.complete) await cached.fetchAll(undefined, options.signal);
      return cached;
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
  }

  /** Ends the fetches under way, and the recordings of points: nothing of theirs is written afterwards. */
  async close(): Promise<void> {
    const reason = new SregistryError('CANCELED', 'The fetch of a layer was ended');
    await Promise.all([this.#flights.abort(reason), this.#byToc.close(reason), this.#bySoci.close(reason)]);
    await this.#byPoints.close();
  }

  /** Resolves when nobody reads a file of a fetch any more, after the images of the cache were closed. */
  async released(): Promise<void> {
    await Promise.all(this.#releases);
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
      const recording = this.#byPoints.record(layer, file.path);
      try {
        const { size, sums, entries } = await this.#receive(layer, file, options, recording);
        file.finish();
        await this.#cache.adopt(TARGET, entryOf(layer, size), file.path, sums);
        remembered(this.#state, ({ layers }) => layers.put(layer.diffId, entries));
        recording?.keep();
        return size;
      } catch (error) {
        recording?.end();
        throw error;
      }
    }
  }

  #begin({ diffId, size }: LayerBlob, signal: AbortSignal): Promise<GrowingFile | undefined> {
    return this.#cache.begin(`${TARGET}-${diffId}`, size * GROWTH, signal);
  }

  async #receive(
    layer: LayerSource,
    file: GrowingFile,
    { signal, onBytes }: LayerOptions & { signal: AbortSignal },
    recording?: Recording,
  ): Promise<FetchedLayer> {
    const transfer = { uri: layer.title, size: layer.size, cached: 0 };
    this.#transfers.set(layer.diffId, transfer);
    const { toc } = layer;
    const mark = toc && new BlobPart(markOf(toc, layer.size));
    const take = (chunk: Buffer) => {
      mark?.push(chunk);
      transfer.cached += chunk.length;
      this.#fetchedBytes += chunk.length;
      onBytes?.(chunk.length);
      recording?.push(chunk);
    };
    try {
      const blob = await layer.read(0, layer.size, signal);
      const fetched = await fetchLayer(layer, blob, file, signal, take);
      if (toc && mark) this.#byToc.confirm(layer, toc, mark.bytes);
      return fetched;
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
          const closed = new Promise<void>((resolve) => void part.once('close', resolve));
          // What stays is removed by whoever opens the cache next.
          const released = closed.then(() => file[Symbol.asyncDispose]()).catch(() => {});
          this.#releases.add(released);
          void released.then(() => this.#releases.delete(released));
          return part;
        } catch (error) {
          await file[Symbol.asyncDispose]();
          throw error;
        }
      }
    };
  }
}

/** A part of a blob, taken out while the blob streams by. */
class BlobPart {
  readonly bytes: Buffer;
  /** Where it begins, from what comes next. */
  #start: number;

  constructor({ offset, length }: { readonly offset: number; readonly length: number }) {
    this.bytes = Buffer.alloc(length);
    this.#start = offset;
  }

  push(chunk: Buffer): void {
    const [start, end] = [this.#start, this.#start + this.bytes.length];
    if (start < chunk.length && end > 0)
      chunk.copy(this.bytes, Math.max(0, -start), Math.max(0, start), Math.min(end, chunk.length));
    this.#start -= chunk.length;
  }
}

/** URIs of the entries of the cache that may hold a layer: its archive, and what its table of contents or ztoc leads to. */
export function entriesFor(layer: LayerBlob): string[] {
  const { toc, ztoc } = layer;
  const whole = describe(TARGET, entryOf(layer, 0)).uri;
  return [whole, ...(toc ? [entryUriOf(toc)] : []), ...(ztoc ? [sociUriOf(ztoc, layer)] : [])];
}
