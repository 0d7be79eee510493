/**
 * What the listings of a moment ago tell of images on this machine. `ls -l` is a listing, and then one look at each of its images.
 * Answered one by one, the looks would cost most of the time. So the second look makes the listing look at its images many at a time.
 *
 * Each answer is given once, soon after the listing: whoever looks again wants to know how the image is now.
 */
import { LRUCache } from 'lru-cache';
import type { Backend } from '../backends/backend.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { ImageEntry, ListEntry, RemoteImage } from '../image/remote.ts';
import { identityOf } from './identity.ts';

/** Milliseconds without a look after which a listing is out of date. */
const RECENT = 2_000;
/** Images looked at at once: enough that they share their costs, few enough that others get the disk in between. */
const BATCH = 256;

export class RecentListings {
  readonly #listings = new LRUCache<string, RecentListing>({ max: 4, ttl: RECENT, updateAgeOnGet: true });

  note(backend: Backend, collection: string, entries: readonly ListEntry[]): void {
    const images = entries.filter((entry) => entry.kind === 'image');
    this.#listings.set(idOf(backend, collection), new RecentListing(images));
  }

  forget(backend: Backend, collection: string): void {
    this.#listings.delete(idOf(backend, collection));
  }

  /** What `stat` shows of an image; undefined if no listing tells. */
  async look(backend: Backend, name: ImageName): Promise<RemoteImage | undefined> {
    return this.#listings.get(idOf(backend, name.collection))?.look(name);
  }
}

interface Batch {
  readonly images: Promise<(RemoteImage | undefined)[]>;
  /** Images that nobody looked at. */
  left: number;
}

class RecentListing {
  readonly #images: readonly ImageEntry[];
  /** Position of each image that nobody looked at, by its name. Undefined until the second look. */
  #positions: Map<string, number> | undefined;
  readonly #batches = new Map<number, Batch>();
  #looks = 0;

  constructor(images: readonly ImageEntry[]) {
    this.#images = images;
  }

  async look(name: ImageName): Promise<RemoteImage | undefined> {
    this.#looks += 1;
    if (this.#looks === 1) return undefined;
    this.#positions ??= new Map(this.#images.map((image, index) => [formatImageName(image.name), index]));
    const key = formatImageName(name);
    const position = this.#positions.get(key);
    if (position === undefined) return undefined;
    this.#positions.delete(key);
    const number = Math.floor(position / BATCH);
    const batch = this.#batches.get(number) ?? this.#start(number);
    batch.left -= 1;
    if (batch.left === 0) this.#batches.delete(number);
    return (await batch.images)[position % BATCH];
  }

  #start(number: number): Batch {
    const entries = this.#images.slice(number * BATCH, (number + 1) * BATCH);
    const images = Promise.all(entries.map(async ({ remote, look }) => remote ?? look?.()));
    const batch = { images, left: entries.length };
    this.#batches.set(number, batch);
    return batch;
  }
}

function idOf(backend: Backend, collection: string): string {
  return `${identityOf(backend)}\n${collection}`;
}
