/**
 * Layers that are read by their tables of contents (eStargz, zstd:chunked). Opening one fetches its table, unless the catalog knows it.
 * The contents of its files are an entry of the cache that fills as they are read, each chunk compared with its digest before that.
 *
 * The data follow from the table alone, and so does what is in them: layers with one table share both. How the data are read follows
 * from the blob as well, and is known of each blob by itself.
 *
 * A registry that knows no ranges sends the blob from its beginning for each of them. So once that is known, the first read of a layer
 * fetches all of it.
 */
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../base/errors.ts';
import { SingleFlight } from '../base/single-flight.ts';
import type { ImageCache } from '../cache/cache.ts';
import { describe } from '../cache/entry-key.ts';
import type { State } from '../catalog/state.ts';
import { ChunkTable } from '../image/layers/chunks.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import { type IndexedToc, indexToc, unpackChunks } from '../image/layers/index-toc.ts';
import { type RecentSpans, SpanData } from '../image/layers/spans.ts';
import { hasTable, readToc, type TocPlace } from '../image/layers/toc-place.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import {
  type LayerOptions,
  type LayerSource,
  type OpenLayer,
  openInParts,
  readAnyway,
  readPart,
  sourceOf,
  TARGET,
} from './open-layer.ts';
import { remembered } from './remembered.ts';

const debug = debugLog('layers');

/** What the catalog keeps instead of chunks for a table that tells too little. */
const INSUFFICIENT = new Uint8Array(0);

export class TocLayers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #flights = new SingleFlight<IndexedToc | undefined>();
  readonly #recent: RecentSpans;
  /** Bytes of the data of layers that were asked for; 0 if they are not known. */
  readonly #sizes = new LRUCache<string, number>({ max: 10_000 });
  /** Layers whose registry knows no ranges. */
  readonly #rangeless = new Set<string>();
  /** Blobs whose registry told that they have no table, until that was compared with a digest. */
  readonly #absent = new Set<string>();
  #fetchedBytes = 0;

  constructor(cache: ImageCache, state: State, recent: RecentSpans) {
    this.#cache = cache;
    this.#state = state;
    this.#recent = recent;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Bytes of a layer on local disk; undefined if it was not opened yet, or must be fetched whole. */
  cachedBytes(layer: LayerBlob, place: TocPlace): number | undefined {
    const blob = blobKeyOf(layer, place);
    if (!this.#sizes.has(blob)) {
      const kept = this.#kept(blob);
      this.#sizes.set(blob, kept instanceof ChunkTable ? kept.size : 0);
    }
    const size = this.#sizes.get(blob);
    return size ? this.#cache.cachedBytes(TARGET, entryOf(place, size)) : undefined;
  }

  /**
   * Opens a layer; undefined if its table tells too little, or is absent, so that it must be fetched whole.
   * @throws {SregistryError} CORRUPT if the table has another digest, NOT_AN_IMAGE if it contradicts itself, NOT_PRESENTABLE if it
   *   goes beyond a limit; the errors of its source.
   */
  async open(layer: LayerSource, place: TocPlace, options: LayerOptions): Promise<OpenLayer | undefined> {
    let { onBytes } = options;
    const count = (bytes: number) => {
      this.#fetchedBytes += bytes;
      onBytes?.(bytes);
    };
    const key = keyOf(place);
    const blob = blobKeyOf(layer, place);
    const read = readAnyway(layer.read, () => this.#rangeless.add(blob));
    const index = (signal?: AbortSignal) => this.#index({ ...layer, read }, place, count, signal);
    const kept = this.#kept(blob);
    const indexed = kept === undefined ? await index(options.signal) : undefined;
    const chunks = kept ?? (indexed && unpackChunks(indexed.chunks));
    if (chunks === undefined || chunks === 'insufficient') return undefined;
    this.#sizes.set(blob, chunks.size);
    const sequential = this.#rangeless.has(blob);
    const maxGap = sequential ? layer.size : undefined;
    const data = new SpanData(key, chunks, read, this.#recent, count, maxGap);
    const image = { ...entryOf(place, chunks.size), sequential };
    const cached = await openInParts(this.#cache, image, data, options);
    // Later readers have no part in the progress of this call.
    onBytes = undefined;
    return {
      ...sourceOf(cached),
      entries: async () =>
        remembered(this.#state, ({ layers }) => layers.entriesOf(key)) ??
        ((await index()) as IndexedToc).entries,
      [Symbol.asyncDispose]: () => this.#cache.close(cached),
    };
  }

  /**
   * Takes the mark of a layer whose blob was fetched whole and has its digest, see `markOf`.
   * @throws {SregistryError} CORRUPT if the layer was fetched whole as its registry told that it has no table, and it has one.
   */
  confirm(layer: LayerSource, place: TocPlace, mark: Buffer): void {
    const blob = blobKeyOf(layer, place);
    const wasAbsent = this.#absent.delete(blob);
    if (!hasTable(place, mark)) remembered(this.#state, ({ layers }) => layers.putSpans(blob, INSUFFICIENT));
    else if (wasAbsent)
      throw new SregistryError('CORRUPT', `The registry sent other bytes of ${layer.title} than before`, {
        hint: 'Open the image again',
      });
  }

  /** Ends the fetches of tables, with this reason for all who wait. */
  close(reason: SregistryError): Promise<void> {
    return this.#flights.abort(reason);
  }

  /** The chunks that the catalog knows, or that the table tells too little. */
  #kept(blob: string): ChunkTable | 'insufficient' | undefined {
    const kept = remembered(this.#state, ({ layers }) => layers.spansOf(blob));
    if (kept === undefined) return undefined;
    return kept.length === INSUFFICIENT.length ? 'insufficient' : unpackChunks(kept);
  }

  /** What the table tells, after fetching it; undefined if that is too little. */
  #index(
    layer: LayerSource,
    place: TocPlace,
    count: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<IndexedToc | undefined> {
    const [key, blob] = [keyOf(place), blobKeyOf(layer, place)];
    const { packing } = place;
    return this.#flights.join(
      blob,
      async (call) => {
        const read = (offset: number, length: number) =>
          readPart(layer.read, offset, length, call.signal, count);
        const toc = await readToc(place, layer.size, read, layer.title);
        if (toc === 'absent') {
          this.#absent.add(blob);
          debug('%s has no table, though its manifest names one', layer.title);
          return undefined;
        }
        const indexed = toc && (await indexToc({ toc, packing, name: layer.title }, call.signal));
        if (indexed === undefined) debug('%s has a table that tells too little', layer.title);
        remembered(this.#state, ({ layers }) => {
          layers.putSpans(blob, indexed?.chunks ?? INSUFFICIENT);
          if (indexed !== undefined) layers.put(key, indexed.entries);
        });
        return indexed;
      },
      signal,
    );
  }
}

/** Names the data of a layer: they follow from its table. */
function keyOf({ packing, digest }: TocPlace): string {
  return `toc-${packing}-${digest}`;
}

/** Names how the data of a layer are read from its blob. Images may name the table of one blob for another one. */
function blobKeyOf({ digest, size }: LayerBlob, place: TocPlace): string {
  const { offset = size, length = 0 } = place.range ?? {};
  return `${keyOf(place)} in ${digest} ${size} ${offset} ${length}`;
}

/** The URI of the entry of the cache that holds the data. */
export function entryUriOf(place: TocPlace): string {
  return describe(TARGET, entryOf(place, 0)).uri;
}

/** The data as an image of the cache. Nobody states a digest of them: each chunk has its own. */
function entryOf(place: TocPlace, size: number): RemoteImage {
  const { packing, digest } = place;
  const name = { collection: '', image: `toc-${packing}`, tag: digest.slice(digest.indexOf(':') + 1) };
  return { name, size, revision: keyOf(place), handle: {} };
}
