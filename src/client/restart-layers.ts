/**
 * Layers that were fetched whole before, and that the cache has evicted since: read in parts, by their restart points
 * (src/image/layers/restart.ts). These were recorded beside the fetch, and are small files beside the images of the cache.
 */
import { LRUCache } from 'lru-cache';
import { isError, systemCode } from '../base/errors.ts';
import type { ImageCache } from '../cache/cache.ts';
import type { CachedImage } from '../cache/image.ts';
import type { LayerBlob } from '../image/layers/image.ts';
import { PointRecorder } from '../image/layers/record.ts';
import { parseRestarts } from '../image/layers/restart-file.ts';
import { type RecentSpans, SpanData, type Spans } from '../image/layers/spans.ts';
import { debugLog } from '../log/index.ts';
import {
  entryOf,
  type LayerOptions,
  type LayerSource,
  openInParts,
  readAnyway,
  TARGET,
} from './open-layer.ts';

const debug = debugLog('layers');

/** Bytes of a blob from which points are recorded. One span of a larger blob is about as much as a smaller blob is in all. */
const MIN_SIZE = 1024 * 1024;

/** The points of one layer, while it is fetched. */
export interface Recording {
  /** Takes the next bytes of the blob. */
  push(chunk: Buffer): void;
  /** The layer is whole and right: keeps its points, in the background. */
  keep(): void;
  /** The fetch has failed. */
  end(): void;
}

export class RestartLayers {
  readonly #cache: ImageCache;
  readonly #recent: RecentSpans;
  /** Recordings that are being kept. */
  readonly #keeping = new Map<PointRecorder, Promise<void>>();
  /** Bytes of the archives of layers that were opened, by diff id. */
  readonly #sizes = new LRUCache<string, number>({ max: 10_000 });
  #fetchedBytes = 0;

  constructor(cache: ImageCache, recent: RecentSpans) {
    this.#cache = cache;
    this.#recent = recent;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Bytes of a layer on local disk, if it was opened before. */
  cachedBytes(layer: LayerBlob): number {
    const size = this.#sizes.get(layer.diffId);
    return size === undefined ? 0 : this.#cache.cachedBytes(TARGET, entryOf(layer, size));
  }

  /**
   * Begins to record the points of a layer; undefined if it needs none.
   * @param path of its archive: an empty file that grows.
   */
  record(layer: LayerBlob, path: string): Recording | undefined {
    if (layer.size < MIN_SIZE) return undefined;
    const recorder = new PointRecorder({ path, diffId: layer.diffId });
    const end = () => recorder[Symbol.dispose]();
    return {
      push: (chunk) => recorder.push(chunk),
      keep: () => {
        const kept = this.#keep(layer, recorder).finally(() => this.#keeping.delete(recorder));
        this.#keeping.set(recorder, kept);
      },
      end,
    };
  }

  async #keep(layer: LayerBlob, recorder: PointRecorder): Promise<void> {
    try {
      const file = await recorder.finish();
      if (file !== undefined && (await this.#cache.makeRoom(file.length)))
        await this.#cache.points.put(keyOf(layer), file);
      debug('%s: %d bytes of restart points', layer.digest, file?.length ?? 0);
    } catch (error) {
      // They only save a fetch.
      debug('%s: its restart points are not kept: %o', layer.digest, error);
    }
  }

  /**
   * Opens a layer without fetching anything, unless all of it is wanted. Undefined if it has no points: then it must be fetched whole.
   * @throws {SregistryError} the errors of the source, if all of it is wanted.
   */
  async open(layer: LayerSource, options: LayerOptions): Promise<CachedImage | undefined> {
    const spans = await this.#spansOf(layer);
    if (spans === undefined) return undefined;
    let { onBytes } = options;
    const count = (bytes: number) => {
      this.#fetchedBytes += bytes;
      onBytes?.(bytes);
    };
    // Without ranges, the next opening does better to fetch the layer whole.
    const read = readAnyway(layer.read, () => void this.#drop(layer));
    const data = new SpanData(layer.digest, spans, read, this.#recent, count);
    this.#sizes.set(layer.diffId, spans.size);
    const cached = await openInParts(this.#cache, entryOf(layer, spans.size), data, options);
    // Later readers have no part in the progress of this call.
    onBytes = undefined;
    return cached;
  }

  /** Forgets the points of a layer. */
  async #drop(layer: LayerBlob): Promise<void> {
    await this.#cache.points.drop(keyOf(layer)).catch((error: unknown) => {
      debug('%s: its restart points cannot be removed: %o', layer.digest, error);
    });
  }

  async #spansOf(layer: LayerBlob): Promise<Spans | undefined> {
    const file = await this.#cache.points.get(keyOf(layer)).catch((error: unknown) => {
      if (systemCode(error) === undefined) throw error;
      debug('%s: its restart points cannot be read: %o', layer.digest, error);
      return undefined;
    });
    const spans = file && parseRestarts(file);
    if (spans === undefined) return undefined;
    const decode = async (index: number, stored: Buffer) => {
      try {
        return await spans.decode(index, stored);
      } catch (error) {
        // The next opening fetches the layer whole, and compares it with its digests.
        if (isError(error, 'CORRUPT')) await this.#drop(layer);
        throw error;
      }
    };
    return { size: spans.size, count: spans.count, span: (index) => spans.span(index), decode };
  }

  /** Resolves when nothing is being kept any more. */
  async settled(): Promise<void> {
    while (this.#keeping.size > 0) await Promise.all(this.#keeping.values());
  }

  /** Ends what is being kept. */
  async close(): Promise<void> {
    for (const recorder of this.#keeping.keys()) recorder[Symbol.dispose]();
    await this.settled();
  }
}

/** Points are those of a blob that was found to hold this archive: another image may say that it holds another one. */
function keyOf({ digest, diffId }: LayerBlob): string {
  return `${digest} ${diffId}`;
}
