/**
 * Layers that are read by their ztocs (SOCI). Opening one fetches its ztoc and the last span of the archive, as the ztoc does not tell
 * where the archive ends; the next opening fetches nothing. The data is the archive, as of a layer that is fetched whole, so an image
 * has the same bytes either way.
 *
 * What a ztoc says is the word of whoever made the image, or of others whom the backend's options let speak for it. When the archive is
 * complete, it is compared with its digest, and at the next opening the ztoc with what the archive holds. If anything is wrong, the
 * ztoc is not used any more.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../base/errors.ts';
import { SingleFlight } from '../base/single-flight.ts';
import type { ImageCache } from '../cache/cache.ts';
import { describe } from '../cache/entry-key.ts';
import type { State } from '../catalog/state.ts';
import type { LayerEntry } from '../image/layers/entry.ts';
import type { LayerBlob, ZtocBlob } from '../image/layers/image.ts';
import { indexZtoc } from '../image/layers/index-ztoc.ts';
import { unpackEntries } from '../image/layers/packed-entries.ts';
import { formatRestarts, parseRestarts } from '../image/layers/restart-file.ts';
import { lengthOfLast, SociSpans } from '../image/layers/soci-spans.ts';
import { type RecentSpans, SpanData } from '../image/layers/spans.ts';
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

/** Most bytes of a ztoc: of an archive of 32 GiB, with a million entries. */
const MAX_ZTOC = 512 * 1024 * 1024;
/** What the catalog keeps for a ztoc that cannot be used. */
const USELESS = new Uint8Array(0);
/** What it keeps instead of the entries that a ztoc told, once the archive was found to have them. */
const COMPARED = new Uint8Array(0);

interface Indexed {
  readonly entries: Uint8Array;
  readonly spans: SociSpans;
}

type Count = (bytes: number) => void;

export class SociLayers {
  readonly #cache: ImageCache;
  readonly #state: State;
  readonly #recent: RecentSpans;
  readonly #flights = new SingleFlight<Indexed | undefined>();
  /** Bytes of the archives of layers that were opened. */
  readonly #sizes = new LRUCache<string, number>({ max: 10_000 });
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

  /** Bytes of a layer on local disk; undefined if it was not opened yet. */
  cachedBytes({ diffId, ztoc }: LayerBlob): number | undefined {
    const size = ztoc && this.#sizes.get(ztoc.digest);
    return size === undefined
      ? undefined
      : this.#cache.cachedBytes(TARGET, entryOf(ztoc as ZtocBlob, diffId, size));
  }

  /** Opens a layer; undefined if its ztoc cannot be used, so that it must be fetched whole. Errors are those of its source. */
  async open(layer: LayerSource, ztoc: ZtocBlob, options: LayerOptions): Promise<OpenLayer | undefined> {
    if (this.#isUseless(ztoc)) return undefined;
    let { onBytes } = options;
    const count: Count = (bytes) => {
      this.#fetchedBytes += bytes;
      onBytes?.(bytes);
    };
    const index = (signal?: AbortSignal) => this.#index(layer, ztoc, count, signal);
    const spans = (await this.#kept(ztoc)) ?? (await index(options.signal))?.spans;
    if (spans === undefined) return undefined;
    this.#sizes.set(ztoc.digest, spans.size);
    const read = readAnyway(layer.read, () => this.#forget(ztoc));
    const data = new SpanData(keyOf(ztoc), spans, read, this.#recent, count);
    const cached = await openInParts(this.#cache, entryOf(ztoc, layer.diffId, spans.size), data, options);
    // Later readers have no part in the progress of this call.
    onBytes = undefined;
    const source = sourceOf(cached);
    return {
      size: source.size,
      read: (offset, length) =>
        source.read(offset, length).catch((error: unknown) => {
          if (isError(error, 'CORRUPT')) this.#forget(ztoc);
          throw error;
        }),
      entries: async () => {
        const kept = this.isCompared(ztoc) ? this.#entriesOf(layer.diffId) : this.#toldBy(ztoc);
        const entries = kept ?? (await index())?.entries;
        if (entries !== undefined) return entries;
        throw new SregistryError('CORRUPT', `${layer.title} has another ztoc than before`);
      },
      [Symbol.asyncDispose]: () => this.#cache.close(cached),
    };
  }

  /** Was the ztoc compared with the archive? */
  isCompared(ztoc: ZtocBlob): boolean {
    return this.#toldBy(ztoc)?.length === COMPARED.length;
  }

  /** Compares what the ztoc told with what the reader of archives found when the archive was complete. */
  compare(ztoc: ZtocBlob, { diffId }: LayerBlob, found: Uint8Array): void {
    const told = this.#toldBy(ztoc);
    if (told !== undefined && !areSame(unpackEntries(told), unpackEntries(found))) this.#forget(ztoc);
    remembered(this.#state, ({ layers }) => {
      // Without what it told, nothing says whether images were described rightly.
      if (told === undefined) layers.forgetImages();
      layers.put(diffId, found);
      layers.put(keyOf(ztoc), COMPARED);
    });
  }

  /** Ends the fetches of ztocs, with this reason for all who wait. */
  close(reason: SregistryError): Promise<void> {
    return this.#flights.abort(reason);
  }

  #toldBy(ztoc: ZtocBlob): Uint8Array | undefined {
    return this.#entriesOf(keyOf(ztoc));
  }

  #entriesOf(key: string): Uint8Array | undefined {
    return remembered(this.#state, ({ layers }) => layers.entriesOf(key));
  }

  #isUseless(ztoc: ZtocBlob): boolean {
    return remembered(this.#state, ({ layers }) => layers.spansOf(keyOf(ztoc))) !== undefined;
  }

  /** From now on, the layer is fetched whole. Images that were described by the ztoc are described anew. */
  #forget(ztoc: ZtocBlob): void {
    remembered(this.#state, ({ layers }) => {
      layers.putSpans(keyOf(ztoc), USELESS);
      layers.forgetImages();
    });
  }

  async #kept(ztoc: ZtocBlob): Promise<SociSpans | undefined> {
    const file = await this.#cache.points.get(keyOf(ztoc)).catch(() => undefined);
    const kept = file && parseRestarts(file);
    return kept && new SociSpans(kept.points, kept.size, kept.storedSize);
  }

  /** What the ztoc tells, after fetching it; undefined if it cannot be used. */
  #index(
    layer: LayerSource,
    ztoc: ZtocBlob,
    count: Count,
    signal: AbortSignal | undefined,
  ): Promise<Indexed | undefined> {
    return this.#flights.join(
      keyOf(ztoc),
      async (call) => {
        try {
          return await this.#fetch(layer, ztoc, count, call.signal);
        } catch (error) {
          if (!isError(error, 'NOT_AN_IMAGE', 'NOT_PRESENTABLE', 'CORRUPT') && !isMissing(error)) throw error;
          debug('%s is fetched whole, as its ztoc cannot be used: %o', layer.title, error);
          this.#forget(ztoc);
          return undefined;
        }
      },
      signal,
    );
  }

  async #fetch(
    { title, read, readZtoc, size: stored }: LayerSource,
    ztoc: ZtocBlob,
    count: Count,
    signal: AbortSignal,
  ): Promise<Indexed> {
    const wrong = (why: string) => new SregistryError('CORRUPT', `The ztoc of ${title} ${why}`);
    if (readZtoc === undefined || ztoc.size > MAX_ZTOC) throw wrong('cannot be read');
    const bytes = await readPart(readZtoc, 0, ztoc.size, signal, count);
    const [algorithm = ''] = ztoc.digest.split(':');
    if (`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` !== ztoc.digest)
      throw wrong('was damaged');
    const { entries, points } = await indexZtoc(bytes, signal);
    const told = parseRestarts(Buffer.from(points.buffer, points.byteOffset, points.length));
    const last = told?.points.at(-1);
    if (told === undefined || last === undefined || told.storedSize !== stored)
      throw wrong('is of another layer');
    const end = await readPart(
      readAnyway(read, () => {}),
      last.from,
      stored - last.from,
      signal,
      count,
    );
    const size = last.offset + (await lengthOfLast(last, end));
    if (size < told.size) throw wrong('tells of a longer archive');
    const spans = new SociSpans(told.points, size, stored);
    await this.#cache.points.put(keyOf(ztoc), formatRestarts(spans)).catch((error: unknown) => {
      debug('%s: what its ztoc tells is not kept: %o', title, error);
    });
    remembered(this.#state, ({ layers }) => layers.put(keyOf(ztoc), entries));
    return { entries, spans };
  }
}

/** Does the registry lack the ztoc, although the image has not changed? */
function isMissing(error: unknown): boolean {
  return isError(error, 'SERVICE') && isError(error.cause, 'STALE');
}

/** Have two layers the same entries? Extended attributes may be in another order. */
function areSame(some: Iterator<LayerEntry>, others: Iterator<LayerEntry>): boolean {
  for (;;) {
    const [one, other] = [some.next(), others.next()];
    if (one.done || other.done) return one.done === other.done;
    if (!isDeepStrictEqual(one.value, other.value)) return false;
  }
}

/** Names what a ztoc tells. */
function keyOf({ digest }: ZtocBlob): string {
  return `soci-${digest}`;
}

/** The URI of the entry of the cache that holds the archive of a layer with this ztoc. */
export function sociUriOf(ztoc: ZtocBlob, { diffId }: LayerBlob): string {
  return describe(TARGET, entryOf(ztoc, diffId, 0)).uri;
}

/** The archive as an image of the cache. Until it is complete, only this ztoc vouches for it. */
function entryOf(ztoc: ZtocBlob, diffId: string, size: number): RemoteImage {
  const [, hex = ''] = ztoc.digest.split(':');
  return {
    name: { collection: '', image: 'soci', tag: hex },
    size,
    digest: diffId,
    revision: keyOf(ztoc),
    handle: {},
  };
}
