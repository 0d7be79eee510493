/**
 * What the configured registries say of their images, remembered so that looking at an image again costs no request: a cache of
 * images (resolved-images.ts) and one of listings (cached-listings.ts). Each answer has a time to live, in memory and in the
 * catalog. A catalog that does not work only costs requests: memory is enough.
 *
 * A service that cannot be reached never makes an image "absent": known answers stay, and any other question is an error
 * (stale-if-error.ts). Callers that ask for the same thing at the same time share one request, each with a signal of its own.
 * An answer is not kept if a push or a removal happened meanwhile.
 */
import type { Backend } from '../backends/backend.ts';
import type { ImageName } from '../image/name.ts';
import type { RemoteImage } from '../image/remote.ts';
import { CachedListings } from './cached-listings.ts';
import { Health } from './health.ts';
import { LookAhead } from './look-ahead.ts';
import type { MetadataOptions } from './metadata-options.ts';
import { ResolvedImages } from './resolved-images.ts';

export class MetadataCache {
  readonly images: ResolvedImages;
  readonly listings: CachedListings;
  readonly health = new Health();
  readonly #ahead: LookAhead;

  constructor(options: MetadataOptions) {
    const all = { health: this.health, ...options };
    this.images = new ResolvedImages(all);
    this.listings = new CachedListings(all);
    this.#ahead = new LookAhead(this.images);
  }

  /**
   * What `stat` shows of an image, from a listing: perhaps without digest and annotations. Undefined if resolving the name tells more,
   * or is what tells at all. Asks no service, and needs no statement of the catalog for each image.
   */
  look(backend: Backend, name: ImageName): RemoteImage | undefined {
    const listed = this.images.has(backend, name) ? undefined : this.listings.look(backend, name);
    const listing = listed === undefined ? this.listings.recent(backend, name.collection) : undefined;
    if (listing !== undefined) this.#ahead.note(backend, listing, name);
    return listed;
  }

  /** Notes what a name stands for after a push, a copy or a removal. Listings that would show it are fetched anew. */
  noteChange(backend: Backend, name: ImageName, image: RemoteImage | undefined): void {
    this.images.put(backend, name, image);
    this.listings.expire(backend, name.collection);
  }

  /** Ends requests that nobody waits for. */
  close(): Promise<void> {
    return this.#ahead.close();
  }

  /** Forgets everything known of a backend. */
  forget(backend: Backend): void {
    this.images.forget(backend);
    this.listings.forget(backend);
    this.health.answered(backend.name);
  }
}
