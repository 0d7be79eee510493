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

  /** What `stat` shows of an image; undefined if no listing tells it yet. */
  take(backend: Backend, name: ImageName): RemoteImage | undefined {
    return this.#listings.get(idOf(backend, name.collection))?.take(name);
  }
}

class RecentListing {
  readonly #images: readonly ImageEntry[];
  /** Position of each image that nobody looked at, by its name. Undefined until the second look. */
  #positions: Map<string, number> | undefined;
  /** What is known of the images, by their positions. */
  readonly #known = new Map<number, RemoteImage | undefined>();
  /** Images from the first on that are known or being looked at. */
  #reached = 0;
  #looks = 0;

  constructor(images: readonly ImageEntry[]) {
    this.#images = images;
  }

  take(name: ImageName): RemoteImage | undefined {
    this.#looks += 1;
    if (this.#looks === 1) return undefined;
    this.#positions ??= new Map(this.#images.map((image, index) => [formatImageName(image.name), index]));
    const key = formatImageName(name);
    const position = this.#positions.get(key);
    if (position === undefined) return undefined;
    this.#positions.delete(key);
    // One batch ahead, so that nobody waits for it.
    if (position + BATCH > this.#reached) this.#lookFurther();
    const known = this.#known.get(position);
    this.#known.delete(position);
    return known;
  }

  #lookFurther(): void {
    const start = this.#reached;
    const batch = this.#images.slice(start, start + BATCH);
    this.#reached += batch.length;
    for (const [index, { remote, look }] of batch.entries()) {
      if (remote !== undefined) this.#known.set(start + index, remote);
      else
        look?.().then(
          (image) => this.#known.set(start + index, image),
          () => {},
        );
    }
  }
}

function idOf(backend: Backend, collection: string): string {
  return `${identityOf(backend)}\n${collection}`;
}
