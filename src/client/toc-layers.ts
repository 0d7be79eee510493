/**
 * Layers that are read by their tables of contents (eStargz, zstd:chunked). Opening one fetches its table, unless the catalog knows it.
 * The contents of its files are an entry of the cache that fills as they are read, each chunk compared with its digest before that.
 */
import { LRUCache } from 'lru-cache';
import { SingleFlight } from '../base/single-flight.ts';
import type { ImageCache } from '../cache/cache.ts';
import type { RangeSource } from '../cache/receive.ts';
import type { State } from '../catalog/state.ts';
import { ChunkTable } from '../image/layers/chunks.ts';
import { type RecentSpans, SpanData } from '../image/layers/spans.ts';
import type { TocLayer } from '../image/layers/toc.ts';
import { parseToc } from '../image/layers/toc.ts';
import { readToc, type TocPlace } from '../image/layers/toc-place.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import { type LayerOptions, type LayerSource, type OpenLayer, sourceOf, TARGET } from './open-layer.ts';
import { remembered } from './remembered.ts';

const debug = debugLog('layers');

/** Bytes of decoded chunks that are kept in memory, of all layers together. */
const RECENT = 64 * 1024 * 1024;
/** What stands for a table that tells too little. */
const INSUFFICIENT = { size: 0, entries: undefined };

export class TocLayers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #flights = new SingleFlight<TocLayer | undefined>();
  readonly #recent: RecentSpans = new LRUCache({ maxSize: RECENT, sizeCalculation: ({ length }) => length });
  #fetchedBytes = 0;

  constructor(cache: ImageCache, state: State) {
    this.#cache = cache;
    this.#state = state;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Bytes of a layer on local disk. */
  cachedBytes(place: TocPlace): number {
    const size = remembered(this.#state, ({ layers }) => layers.sizeOfLayer(keyOf(place)));
    return size === undefined ? 0 : this.#cache.cachedBytes(TARGET, entryOf(place, size));
  }

  /**
   * Opens a layer; undefined if its table tells too little, so that it must be fetched whole.
   * @throws {SregistryError} CORRUPT if the table has another digest, NOT_AN_IMAGE if it contradicts itself, NOT_PRESENTABLE if it
   *   goes beyond a limit; the errors of its source.
   */
  async open(layer: LayerSource, place: TocPlace, options: LayerOptions): Promise<OpenLayer | undefined> {
    let { onBytes } = options;
    const count = (bytes: number) => {
      this.#fetchedBytes += bytes;
      onBytes?.(bytes);
    };
    const toc = await this.#tocOf(layer, place, count, options.signal);
    if (toc === undefined) return undefined;
    const { entries, chunks } = toc;
    const data = new SpanData(keyOf(place), chunks, layer.read, this.#recent, count);
    const source: RangeSource = Object.assign(
      async (offset: number, length: number, signal: AbortSignal) => data.stream(offset, length, signal),
      { decoded: data },
    );
    const cached = this.#cache.open(TARGET, entryOf(place, chunks.size), source);
    try {
      if (options.whole) await cached.fetchAll(undefined, options.signal);
    } catch (error) {
      await this.#cache.close(cached);
      throw error;
    }
    // Later readers have no part in the progress of this call.
    onBytes = undefined;
    return { ...sourceOf(cached), entries, [Symbol.asyncDispose]: () => this.#cache.close(cached) };
  }

  async #tocOf(
    layer: LayerSource,
    place: TocPlace,
    count: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<TocLayer | undefined> {
    const key = keyOf(place);
    const known = remembered(this.#state, ({ layers }) => layers.get(key));
    if (known !== undefined) {
      const { size, entries, spans } = known;
      const chunks = spans && ChunkTable.fromBytes(spans);
      if (entries !== undefined && chunks !== undefined) return { entries, chunks };
      if (size === INSUFFICIENT.size && entries === undefined) return undefined;
    }
    return this.#flights.join(key, (call) => this.#fetch(layer, place, count, call.signal), signal);
  }

  async #fetch(
    layer: LayerSource,
    place: TocPlace,
    count: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<TocLayer | undefined> {
    const read = async (offset: number, length: number) => {
      const stream = await layer.read(offset, length, signal);
      const parts: Buffer[] = [];
      for await (const part of stream as AsyncIterable<Buffer>) {
        count(part.length);
        parts.push(part);
      }
      return Buffer.concat(parts);
    };
    const toc = await readToc(place, layer.size, read, layer.title);
    const parsed = toc && parseToc(toc, place.packing, layer.title);
    if (parsed === undefined)
      debug('%s is fetched whole: its table of contents tells too little', layer.title);
    const known = parsed && {
      size: parsed.chunks.size,
      entries: parsed.entries,
      spans: parsed.chunks.toBytes(),
    };
    remembered(this.#state, ({ layers }) => layers.put(keyOf(place), known ?? INSUFFICIENT));
    return parsed;
  }
}

/** Names the data of a layer: they follow from its table. */
function keyOf({ packing, digest }: TocPlace): string {
  return `toc-${packing}-${digest}`;
}

/** The data as an image of the cache. Nobody states a digest of them: each chunk has its own. */
function entryOf(place: TocPlace, size: number): RemoteImage {
  const { packing, digest } = place;
  const name = { collection: '', image: `toc-${packing}`, tag: digest.slice(digest.indexOf(':') + 1) };
  return { name, size, revision: keyOf(place), handle: {} };
}
