/**
 * What the configured registries show, remembered: names resolved and collections listed, each with a time to live, in
 * memory and in the catalog, so that looking at an image again costs no request. A service that cannot be reached never
 * makes an image "absent": what was known stays known, and what was not is an error. A catalog that does not work costs
 * requests, and nothing else: memory counts.
 *
 * All who ask for the same thing at the same time share one request, each with a signal of its own. An answer that someone
 * knew better meanwhile (a push, a removal) is not remembered.
 */
import { LRUCache } from 'lru-cache';
import type { Backend } from '../backends/backend.ts';
import { isError, type SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { Listing as KnownListing } from '../catalog/listings.ts';
import type { Answer } from '../catalog/remotes.ts';
import type { State } from '../catalog/state.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { ListEntry, RemoteImage } from '../image/remote.ts';
import { remembered } from './remembered.ts';

/** Milliseconds for which "does not exist" is believed: short, as someone may be about to push it. */
const ABSENT_TTL = 2_000;
/** Milliseconds for which a service that failed is not asked again for the same thing. */
const FAILURE_TTL = 2_000;
/** Milliseconds after which a lookup that misses in a listing may list again. */
const RELIST_AFTER = 2_000;

export interface ViewOptions {
  readonly state: State;
  /** Milliseconds for which a resolved tag or a listing is believed. */
  readonly ttl: number;
  /** Answer from what is known alone; never ask a service. */
  readonly offline: boolean;
}

export interface Listing {
  readonly entries: readonly ListEntry[];
  /** False where the service cannot list: an entry that is not here may exist all the same. */
  readonly complete: boolean;
}

export class View {
  readonly #options: ViewOptions;
  readonly #lookups = new SingleFlight<RemoteImage | undefined>();
  readonly #relistings = new SingleFlight<Listing>();
  readonly #failures = new LRUCache<string, SregistryError>({ max: 10_000, ttl: FAILURE_TTL });
  readonly #images = new LRUCache<string, { image: RemoteImage | undefined; fetchedAt: number }>({
    max: 50_000,
  });
  readonly #listings = new LRUCache<string, KnownListing>({ max: 5_000 });

  constructor(options: ViewOptions) {
    this.#options = options;
  }

  /** The image behind a name, or undefined where the service says that there is none. */
  async resolve(backend: Backend, name: ImageName, signal?: AbortSignal): Promise<RemoteImage | undefined> {
    if (isLocal(backend)) return backend.resolve(name, signal);
    const key = formatImageName(name);
    const id = `${identityOf(backend)}\n${key}`;
    const known = this.#images.get(id) ?? this.#recall(id, identityOf(backend), key);
    if (known !== undefined && (this.#options.offline || this.#isFresh(known))) return known.image;
    if (this.#options.offline) return undefined;
    const ask = async (call: SharedCall) => {
      const image = await backend.resolve(name, call.signal);
      if (call.isCurrent()) this.remember(backend, name, image);
      return image;
    };
    return this.#orStale(this.#lookups, { id, known: known?.image, ask, signal });
  }

  /** What is directly in a collection, with what the catalog knows of it besides. NOT_FOUND where there is no such collection. */
  async list(backend: Backend, collection: string, signal?: AbortSignal): Promise<Listing> {
    if (isLocal(backend))
      return { entries: await Array.fromAsync(backend.list(collection, signal)), complete: true };
    const id = `${identityOf(backend)}\n${collection}/`;
    const known = this.#listings.get(id) ?? this.#recallListing(id, identityOf(backend), collection);
    if (known !== undefined && (this.#options.offline || Date.now() - known.fetchedAt < this.#options.ttl))
      return known;
    if (this.#options.offline)
      return { entries: this.#seen(identityOf(backend), collection), complete: false };
    const ask = (call: SharedCall) => this.#fetchListing(backend, collection, id, call);
    return this.#orStale(this.#relistings, { id, known, ask, signal });
  }

  /** Is there such a collection? Lists its parent again where the listing at hand is too old to say no. */
  async hasCollection(backend: Backend, collection: string, signal?: AbortSignal): Promise<boolean> {
    if (collection === '') return true;
    const slash = collection.lastIndexOf('/');
    const parent = collection.slice(0, Math.max(0, slash));
    const name = collection.slice(slash + 1);
    const isThere = ({ entries, complete }: Listing) =>
      !complete || entries.some((entry) => entry.kind === 'collection' && entry.name === name);
    try {
      if (isThere(await this.list(backend, parent, signal))) return true;
      const known = this.#listings.get(`${identityOf(backend)}\n${parent}/`);
      if (isLocal(backend) || this.#options.offline || (known && Date.now() - known.fetchedAt < RELIST_AFTER))
        return false;
      this.expireListing(backend, parent);
      return isThere(await this.list(backend, parent, signal));
    } catch (error) {
      if (isError(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Notes what a name stands for now, as after a push or a removal. */
  remember(backend: Backend, name: ImageName, image: RemoteImage | undefined): void {
    if (isLocal(backend)) return;
    const key = formatImageName(name);
    const id = `${identityOf(backend)}\n${key}`;
    const answer = { image, fetchedAt: Date.now() };
    this.#lookups.forget(id);
    this.#images.set(id, answer);
    remembered(this.#options.state, (state) => state.remotes.put(identityOf(backend), key, answer));
  }

  /**
   * Lists this collection and its parents anew when they are next asked for, as after a push into it. What was known
   * is kept for a service that cannot be reached then.
   */
  expireListing(backend: Backend, collection: string): void {
    const identity = identityOf(backend);
    for (let folder = collection; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
      const id = `${identity}\n${folder}/`;
      const known = this.#listings.get(id) ?? this.#recallListing(id, identity, folder);
      if (known !== undefined) {
        const expired = { ...known, fetchedAt: 0 };
        this.#listings.set(id, expired);
        remembered(this.#options.state, (state) => state.listings.put(identity, folder, expired));
      }
      this.#relistings.forget(id);
      this.#failures.delete(id);
      if (folder === '') return;
    }
  }

  /** Forgets everything known of a backend. */
  forget(backend: Backend): void {
    for (const cache of [this.#images, this.#listings, this.#failures]) {
      for (const id of cache.keys()) if (id.startsWith(`${identityOf(backend)}\n`)) cache.delete(id);
    }
    this.#lookups.forget();
    this.#relistings.forget();
    remembered(this.#options.state, (state) => state.remotes.forget(identityOf(backend)));
    remembered(this.#options.state, (state) => state.listings.forget(identityOf(backend)));
  }

  #isFresh({ image, fetchedAt }: Answer): boolean {
    return Date.now() - fetchedAt < (image === undefined ? ABSENT_TTL : this.#options.ttl);
  }

  #recall(id: string, backend: string, key: string) {
    const known = remembered(this.#options.state, (state) => state.remotes.get(backend, key));
    if (known !== undefined) this.#images.set(id, known);
    return known;
  }

  #recallListing(id: string, backend: string, collection: string) {
    const known = remembered(this.#options.state, (state) => state.listings.get(backend, collection));
    if (known !== undefined) this.#listings.set(id, known);
    return known;
  }

  async #fetchListing(
    backend: Backend,
    collection: string,
    id: string,
    { signal, isCurrent }: SharedCall,
  ): Promise<Listing> {
    const entries: ListEntry[] = [];
    let complete = true;
    try {
      for await (const entry of backend.list(collection, signal)) entries.push(entry);
    } catch (error) {
      if (!isError(error, 'UNSUPPORTED')) throw error;
      complete = false;
      entries.push(...this.#seen(identityOf(backend), collection));
    }
    const listing = { entries, complete, fetchedAt: Date.now() };
    if (isCurrent()) {
      this.#listings.set(id, listing);
      remembered(this.#options.state, (state) =>
        state.listings.put(identityOf(backend), collection, listing),
      );
    }
    return listing;
  }

  /** Images of a collection that were looked at before, and the collections on the way to deeper ones. */
  #seen(backend: string, collection: string): ListEntry[] {
    const entries = new Map<string, ListEntry>();
    const prefix = collection === '' ? '' : `${collection}/`;
    for (const { image } of remembered(this.#options.state, (state) => state.remotes.list(backend)) ?? []) {
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

  /** Asks once for all who ask at the same time; falls back on what was known when the service cannot be reached. */
  async #orStale<T>(flights: SingleFlight<T>, { id, known, ask, signal }: Question<T>): Promise<T> {
    const recent = this.#failures.get(id);
    if (recent !== undefined) {
      if (known !== undefined) return known;
      throw recent;
    }
    const askAndNote = async (call: SharedCall) => {
      try {
        return await ask(call);
      } catch (error) {
        if (isUnavailable(error) && call.isCurrent()) this.#failures.set(id, error);
        throw error;
      }
    };
    try {
      return await flights.join(id, askAndNote, signal);
    } catch (error) {
      if (known !== undefined && isUnavailable(error)) return known;
      throw error;
    }
  }
}

interface Question<T> {
  readonly id: string;
  readonly known: T | undefined;
  ask(call: SharedCall): Promise<T>;
  /** The caller's own. */
  readonly signal: AbortSignal | undefined;
}

/** What answers are kept under: an instance that is pointed elsewhere knows nothing yet. */
export function identityOf(backend: Backend): string {
  return `${backend.name} ${backend.target}`;
}

/** Images on this machine: to ask is cheaper than to remember. */
function isLocal(backend: Backend): boolean {
  return backend.localPath !== undefined;
}

/** The service did not answer, which says nothing about the image. */
function isUnavailable(error: unknown): error is SregistryError {
  return isError(error, 'UNREACHABLE', 'TIMED_OUT', 'RATE_LIMITED', 'SERVICE');
}
