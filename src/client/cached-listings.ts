/**
 * The cache of listings: what each backend listed in a collection, in memory and in the catalog. If a service cannot list, or
 * must not be asked, the images that were seen before stand in.
 */
import { LRUCache } from 'lru-cache';
import type { Backend } from '../backends/backend.ts';
import { isError } from '../base/errors.ts';
import type { SharedCall } from '../base/single-flight.ts';
import type { Listing } from '../catalog/listings.ts';
import type { State } from '../catalog/state.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { ListEntry, RemoteImage } from '../image/remote.ts';
import { identityOf, isLocal } from './identity.ts';
import type { MetadataOptions } from './metadata-options.ts';
import { RecentListings } from './recent-listings.ts';
import { remembered } from './remembered.ts';
import { StaleIfError } from './stale-if-error.ts';

/** Milliseconds after which a lookup that finds nothing in a listing may list again. */
const RELIST_AFTER = 2_000;

/** What is in a collection, as far as is known. An entry that is missing in an incomplete listing may still exist. */
export type Entries = Pick<Listing, 'entries' | 'complete'>;

export class CachedListings {
  readonly #options: MetadataOptions;
  readonly #service: StaleIfError<Entries>;
  readonly #memory = new LRUCache<string, Listing>({ max: 5_000 });
  readonly #recent = new RecentListings();
  /** The images of listings that somebody looked at, by name. */
  readonly #images = new WeakMap<Listing, Map<string, RemoteImage>>();

  constructor(options: MetadataOptions) {
    this.#service = new StaleIfError(options.health);
    this.#options = options;
  }

  /** What is directly in a collection, according to the service and the catalog. Throws NOT_FOUND if it does not exist. */
  async list(backend: Backend, collection: string, signal?: AbortSignal): Promise<Entries> {
    if (isLocal(backend)) {
      const entries = await Array.fromAsync(backend.list(collection, signal));
      this.#recent.note(backend, collection, entries);
      return { entries, complete: true };
    }
    const { offline, state } = this.#options;
    const known = this.#known(backend, collection);
    if (known !== undefined && this.#isGood(known)) return known;
    if (offline) return { entries: seenIn(state, identityOf(backend), collection), complete: false };
    const ask = (call: SharedCall) => this.#fetch(backend, collection, call);
    return this.#service.answer({ backend: backend.name, id: idOf(backend, collection), known, ask, signal });
  }

  /**
   * What `stat` shows of an image, as far as a listing tells: perhaps without digest and annotations. Undefined if only resolving the name
   * tells. Asks no service.
   */
  look(backend: Backend, name: ImageName): RemoteImage | undefined {
    if (isLocal(backend)) return this.#recent.take(backend, name);
    const listing = this.recent(backend, name.collection);
    if (listing === undefined) return undefined;
    let images = this.#images.get(listing);
    if (images === undefined) {
      images = imagesIn(listing, this.#seen(backend, name.collection));
      this.#images.set(listing, images);
    }
    return images.get(formatImageName(name));
  }

  /** A listing in memory that can be trusted. */
  recent(backend: Backend, collection: string): Listing | undefined {
    const listing = this.#memory.get(idOf(backend, collection));
    return listing !== undefined && this.#isGood(listing) ? listing : undefined;
  }

  /** Does the collection exist? Lists its parent again if the known listing lacks it and is too old to rely on. */
  async hasCollection(backend: Backend, collection: string, signal?: AbortSignal): Promise<boolean> {
    if (collection === '') return true;
    const parent = parentOf(collection);
    const name = collection.slice(collection.lastIndexOf('/') + 1);
    const isThere = ({ entries, complete }: Entries) =>
      !complete || entries.some((entry) => entry.kind === 'collection' && entry.name === name);
    try {
      if (isThere(await this.list(backend, parent, signal))) return true;
      const known = this.#memory.get(idOf(backend, parent));
      const isRecent = known !== undefined && Date.now() - known.fetchedAt < RELIST_AFTER;
      if (isLocal(backend) || this.#options.offline || isRecent) return false;
      this.expire(backend, parent);
      return isThere(await this.list(backend, parent, signal));
    } catch (error) {
      if (isError(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }

  /**
   * Makes the next question list this collection and its parents anew, for instance after a push into it. Keeps the known
   * listings in case the service cannot be reached then.
   */
  expire(backend: Backend, collection: string): void {
    for (let folder = collection; ; folder = parentOf(folder)) {
      this.#recent.forget(backend, folder);
      const known = this.#known(backend, folder);
      if (known !== undefined) this.#put(backend, folder, { ...known, fetchedAt: 0 });
      this.#service.retry(idOf(backend, folder));
      if (folder === '') return;
    }
  }

  /** Forgets every listing of a backend. */
  forget(backend: Backend): void {
    const identity = identityOf(backend);
    for (const id of this.#memory.keys()) if (id.startsWith(`${identity}\n`)) this.#memory.delete(id);
    this.#service.forget(identity);
    remembered(this.#options.state, ({ listings }) => listings.forget(identity));
  }

  #isGood({ fetchedAt }: Listing): boolean {
    return this.#options.offline || Date.now() - fetchedAt < this.#options.ttl;
  }

  /** The images of a collection as they resolved, whenever that was. */
  #seen(backend: Backend, collection: string): RemoteImage[] {
    const seen = remembered(this.#options.state, ({ remotes }) =>
      remotes.listIn(identityOf(backend), collection),
    );
    return (seen ?? []).map(({ image }) => image);
  }

  #known(backend: Backend, collection: string): Listing | undefined {
    const id = idOf(backend, collection);
    const known =
      this.#memory.get(id) ??
      remembered(this.#options.state, ({ listings }) => listings.get(identityOf(backend), collection));
    if (known !== undefined) this.#memory.set(id, known);
    return known;
  }

  #put(backend: Backend, collection: string, listing: Listing): void {
    this.#memory.set(idOf(backend, collection), listing);
    remembered(this.#options.state, ({ listings }) => listings.put(identityOf(backend), collection, listing));
  }

  async #fetch(backend: Backend, collection: string, call: SharedCall): Promise<Listing> {
    const entries: ListEntry[] = [];
    let complete = true;
    try {
      for await (const entry of backend.list(collection, call.signal)) entries.push(entry);
    } catch (error) {
      if (!isError(error, 'UNSUPPORTED')) throw error;
      complete = false;
      entries.push(...seenIn(this.#options.state, identityOf(backend), collection));
    }
    const listing = { entries, complete, fetchedAt: Date.now() };
    if (call.isCurrent()) this.#put(backend, collection, listing);
    return listing;
  }
}

/**
 * The images that a listing describes, by name. An image that is still at the revision at which it was resolved is given as it was
 * resolved: the listing may lack its digest, which tells what is cached of it.
 */
function imagesIn({ entries }: Listing, resolved: readonly RemoteImage[]): Map<string, RemoteImage> {
  const images = new Map<string, RemoteImage>();
  for (const entry of entries)
    if (entry.kind === 'image' && entry.remote) images.set(formatImageName(entry.name), entry.remote);
  for (const image of resolved) {
    const key = formatImageName(image.name);
    if (images.get(key)?.revision === image.revision) images.set(key, image);
  }
  return images;
}

/** Images of a collection that were looked at before, and the collections on the way to deeper ones. */
function seenIn(state: State, identity: string, collection: string): ListEntry[] {
  const entries = new Map<string, ListEntry>();
  const prefix = collection === '' ? '' : `${collection}/`;
  for (const { image } of remembered(state, ({ remotes }) => remotes.list(identity)) ?? []) {
    const folder = [image.name.registry, image.name.collection].filter(Boolean).join('/');
    if (folder === collection)
      entries.set(formatImageName(image.name), { kind: 'image', name: image.name, remote: image });
    else if (folder.startsWith(prefix)) {
      const name = folder.slice(prefix.length).split('/')[0] as string;
      entries.set(`${name}/`, { kind: 'collection', name });
    }
  }
  return [...entries.values()];
}

function idOf(backend: Backend, collection: string): string {
  return `${identityOf(backend)}\n${collection}`;
}

/** The parent of a collection; of `''`, the top, itself. */
function parentOf(collection: string): string {
  return collection.slice(0, Math.max(0, collection.lastIndexOf('/')));
}
