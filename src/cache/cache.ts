/**
 * The image cache: image bytes on local disk, one entry a revision, shared by every process of the user.
 *
 * `open` gives a {@link CachedImage} for a remote image and the means to read it. An entry is keyed by the digest the
 * service states together with the service itself, so that one service cannot plant bytes under another's digest; once
 * an image is complete and its sha256 was compared, it serves every service that states the same digest.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CacheIndex } from '../catalog/cache-index.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import { BackgroundFill } from './background-fill.ts';
import { BLOCK_SIZE } from './block-map.ts';
import { isUnusable } from './degraded.ts';
import { Entry } from './entry.ts';
import { type EntryDescription, placeWhole } from './entry-files.ts';
import { Eviction } from './eviction.ts';
import { CachedImage } from './image.ts';
import { takeIn } from './incoming.ts';
import { entryFolder } from './location.ts';
import { maintain, QUARANTINE, STARTING_STEPS } from './maintenance.ts';
import type { RangeSource } from './receive.ts';
import { detach } from './trash.ts';

const debug = debugLog('cache');

/** Milliseconds between two looks at the free space of the disk. */
const RESERVE_INTERVAL = 5_000;

export interface CacheOptions {
  /** Folder of the cache, from `locateCache`. */
  readonly root: string;
  readonly index: CacheIndex;
  /** Bytes it may hold. */
  readonly limit: number;
  /** Bytes that stay free on its file system. */
  readonly minFree: number;
}

/** Where the bytes of an image come from. */
interface ImageSource {
  readonly source: RangeSource;
  readonly sequential: boolean;
}

export interface Transfer {
  readonly uri: string;
  readonly size: number;
  readonly cached: number;
  readonly pending: number;
}

export class ImageCache {
  readonly root: string;
  readonly limit: number;
  readonly #options: CacheOptions;
  readonly #eviction: Eviction;
  readonly #backgroundFill: BackgroundFill;
  /** What an open finds, by key. */
  readonly #images = new Map<string, CachedImage>();
  /** The index's number of each opening that has not ended. */
  readonly #openings = new Map<CachedImage, number>();
  readonly #closing = new Set<Promise<void>>();
  #reserve: NodeJS.Timeout | undefined;
  /** Giving the disk its reserve back, where that is under way. */
  #keeping: Promise<void> | undefined;
  #fetchedBytes = 0;
  #lastBytes = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
    this.root = options.root;
    this.limit = options.limit;
    this.#eviction = new Eviction(options);
    this.#backgroundFill = new BackgroundFill(() => this.#images.values());
  }

  /** Repairs what crashes left behind, and evicts images over the limit, which may be smaller than last time. */
  async start(): Promise<void> {
    try {
      await maintain(this.#options, STARTING_STEPS);
      await this.makeRoom(0);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      debug('the cache could not be looked after: %o', error);
    }
    this.#backgroundFill.start();
    this.#reserve = setInterval(() => this.#keepReserve(), RESERVE_INTERVAL).unref();
  }

  /**
   * Frees so many bytes on the cache's file system and below its limit, for anything to be written there. Returns false and
   * evicts nothing if it cannot free that many.
   */
  async makeRoom(bytes: number): Promise<boolean> {
    return this.#eviction.makeRoom(bytes);
  }

  /** As {@link makeRoom}, for a file outside the cache that may use the reserve, such as one being written. */
  makeRoomOnDisk(bytes: number): Promise<boolean> {
    return this.#eviction.makeRoomOnDisk(bytes);
  }

  /** Bytes that came over the network in this process. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Bytes on disk, of every process; the last known number if the index cannot be asked. */
  get bytes(): number {
    this.#lastBytes = askOr(this.#lastBytes, () => this.#options.index.entries.stored());
    return this.#lastBytes;
  }

  /** Images with fetches under way in this process. */
  get transfers(): Transfer[] {
    return [...this.#images.values()]
      .filter((image) => image.pendingBytes > 0)
      .map((image) => ({
        uri: image.uri,
        size: image.size,
        cached: image.cachedBytes,
        pending: image.pendingBytes,
      }));
  }

  /** Bytes of this revision on local disk. Makes no request and opens nothing. 0 if it is not open and the index cannot be asked. */
  cachedBytes(target: string, image: RemoteImage): number {
    const key = askOr(undefined, () => this.#keyOf(target, image)) ?? identityOf(target, image);
    const open = this.#images.get(key);
    if (open !== undefined) return open.cachedBytes;
    return askOr(0, () => Math.min(image.size, this.#options.index.entries.get(key)?.bytes ?? 0));
  }

  /**
   * Opens a revision for reading. `target` names the service (a base URL), `source` reads from it. Where the cache can
   * keep nothing, its reads go through to the service. Every open is ended by one {@link close}.
   */
  open(target: string, image: RemoteImage, source: RangeSource): CachedImage {
    const description = this.#describe(target, image);
    const sequential = image.sequential ?? false;
    const cached = this.#openKept(target, image, description, { source, sequential });
    cached.references += 1;
    return cached;
  }

  /**
   * Ends one open. The last one ends what is under way and closes the files; what is present stays. An image opened
   * again meanwhile has files of its own.
   */
  async close(image: CachedImage): Promise<void> {
    image.references -= 1;
    if (image.references > 0) return;
    if (image.isFilling) void this.#endWhenFilled(image);
    else await this.#end(image);
  }

  /** Lets a fetch of a whole image go on to its end: the service would count another one. Closing the cache ends it. */
  async #endWhenFilled(image: CachedImage): Promise<void> {
    await image.settled();
    if (image.references > 0 || image.state !== 'open') return;
    await this.#end(image).catch((error: unknown) => debug('%s was not closed: %o', image.uri, error));
  }

  /**
   * Moves a whole local file into the cache as this revision. The caller has checked that it has the image's digest and that
   * nobody writes to it any more. Returns false and leaves the file alone if there is no room, if the revision is open or whole
   * already, or if the file has another size.
   */
  async adopt(target: string, image: RemoteImage, file: string): Promise<boolean> {
    try {
      return await this.#adopt(target, image, file);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      return false;
    }
  }

  async #adopt(target: string, image: RemoteImage, file: string): Promise<boolean> {
    const { index, root } = this.#options;
    const key = this.#keyOf(target, image);
    if (index.entries.get(key)?.complete === 1 || !(await this.makeRoom(image.size))) return false;
    const description = this.#describe(target, image);
    await using incoming = await takeIn(root, file, image.size);
    if (incoming === undefined) return false;
    const { data, map, blocks } = incoming;
    return index.install({ key, ...description }, image.digest !== undefined, blocks * BLOCK_SIZE, () => {
      void detach(root, key);
      placeWhole(entryFolder(root, key), data, map, description);
    });
  }

  list(): CacheEntryRow[] {
    return this.#options.index.entries.list();
  }

  /** Closes every image, and waits for closes under way. */
  async stop(): Promise<void> {
    clearInterval(this.#reserve);
    await Promise.all([this.#backgroundFill.stop(), this.#keeping]);
    await Promise.allSettled([...this.#openings.keys()].map((image) => this.#end(image)));
    await Promise.allSettled(this.#closing);
  }

  #keepReserve(): void {
    this.#keeping ??= this.#eviction
      .keepReserve()
      .catch((error: unknown) => debug('the reserve of the disk could not be kept: %o', error))
      .finally(() => {
        this.#keeping = undefined;
      });
  }

  #retire(image: CachedImage): void {
    if (this.#images.get(image.key) === image) this.#images.delete(image.key);
  }

  #end(image: CachedImage): Promise<void> {
    this.#retire(image);
    const ended = this.#closeAndRelease(image).finally(() => this.#closing.delete(ended));
    this.#closing.add(ended);
    return ended;
  }

  async #closeAndRelease(image: CachedImage): Promise<void> {
    try {
      await image.close();
    } finally {
      const opening = this.#openings.get(image);
      this.#openings.delete(image);
      if (opening !== undefined) this.#options.index.opens.release(image.key, opening);
    }
  }

  #describe(target: string, image: RemoteImage): EntryDescription {
    return {
      uri: `${target}/${formatImageName(image.name)}`,
      size: image.size,
      digest: image.digest,
      revision: image.revision,
    };
  }

  #openKept(
    target: string,
    image: RemoteImage,
    description: EntryDescription,
    source: ImageSource,
  ): CachedImage {
    let key: string | undefined;
    try {
      key = this.#keyOf(target, image);
      this.#eviction.touch(key);
      return this.#images.get(key) ?? this.#create(key, description, source);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      debug('%s is not cached: %o', description.uri, error);
    }
    const unlisted = key ?? identityOf(target, image);
    const known = this.#images.get(unlisted);
    if (known !== undefined) return known;
    // What is on disk already can be read without the index.
    const entry = Entry.openExisting(entryFolder(this.root, unlisted), description.size);
    return this.#add(unlisted, description, source, entry, false);
  }

  #create(key: string, description: EntryDescription, source: ImageSource): CachedImage {
    const { index, root } = this.#options;
    const { row, opening, opened } = openEntry(index, root, key, description);
    const isCompared = row.complete === 1 && opened.map.complete;
    const image = this.#add(key, description, source, opened, isCompared);
    this.#openings.set(image, opening);
    // Files may have been lost or written without the index knowing: what is on disk counts.
    if (!isCompared) index.recount(key, opened);
    else if (row.stamp === opened.stamp()) opened.trustAll();
    return image;
  }

  #add(
    key: string,
    { uri, size, digest }: EntryDescription,
    { source, sequential }: ImageSource,
    entry: Entry | undefined,
    isCompared: boolean,
  ): CachedImage {
    const { index, limit } = this.#options;
    const image: CachedImage = new CachedImage({
      key,
      uri,
      size,
      digest,
      entry,
      isCompared,
      index,
      source,
      sequential,
      limit,
      makeRoom: (bytes) => this.makeRoom(bytes),
      onBytes: (bytes) => {
        this.#fetchedBytes += bytes;
      },
      quarantine: (wrong) => this.#quarantine(image, wrong),
      retire: () => this.#retire(image),
    });
    this.#images.set(key, image);
    return image;
  }

  /** Sets wrong bytes aside under another key, where nothing reads them and eviction finds them. */
  #quarantine(image: CachedImage, entry: Entry): void {
    const { index, root } = this.#options;
    const { key, uri, size } = image;
    this.#retire(image);
    const aside = `${QUARANTINE}${Date.now()}-${key}`;
    index.setAside(key, { key: aside, uri, size }, entry, () => {
      const folder = entryFolder(root, aside);
      mkdirSync(dirname(folder), { recursive: true });
      renameSync(entryFolder(root, key), folder);
    });
  }

  #keyOf(target: string, image: RemoteImage): string {
    const verified = image.digest && this.#options.index.entries.findVerified(image.digest);
    if (verified && verified.size === image.size) return verified.key;
    return identityOf(target, image);
  }
}

/** What the index answers, or `otherwise` if it cannot be asked: numbers shown to people must not fail. */
function askOr<T>(otherwise: T, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (!isUnusable(error)) throw error;
    debug('the index could not be asked: %o', error);
    return otherwise;
  }
}

/** The key of bytes for which only this service vouches. */
function identityOf(target: string, image: RemoteImage): string {
  const bytes = image.digest ?? formatImageName(image.name);
  const identity = [target, image.origin ?? '', bytes, image.revision, image.size];
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex');
}

/** Opens the files of an entry, making both if they are not there. */
function openEntry(index: CacheIndex, root: string, key: string, description: EntryDescription) {
  let entry: Entry | undefined;
  try {
    return index.opens.acquire({ key, ...description }, () => {
      entry = Entry.open(root, key, description);
      return entry;
    });
  } catch (error) {
    void entry?.close();
    throw error;
  }
}
