/**
 * The image cache: image bytes on local disk, one entry a revision, shared by every process of the user. `open` gives a
 * {@link CachedImage} for a remote image and the means to read it. entry-key.ts says which entry an image has.
 */
import type { CacheIndex } from '../catalog/cache-index.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import { BackgroundFill } from './background-fill.ts';
import { BLOCK_SIZE } from './block-map.ts';
import type { TraceStore } from './cold-start.ts';
import { isUnusable } from './degraded.ts';
import { placeWhole } from './entry-files.ts';
import { describe, keyOf, ownKeyOf } from './entry-key.ts';
import { Eviction } from './eviction.ts';
import { GrowingFile } from './growing-file.ts';
import type { CachedImage } from './image.ts';
import { takeIn } from './incoming.ts';
import { entryFolder } from './location.ts';
import { maintain, STARTING_STEPS } from './maintenance.ts';
import { OpenImages } from './open-images.ts';
import type { RangeSource } from './receive.ts';
import { Reserve } from './reserve.ts';
import { SideFiles } from './side-files.ts';
import { StartLimit } from './start-limit.ts';
import { StoredBytes } from './stored-bytes.ts';
import { detach } from './trash.ts';

const debug = debugLog('cache');

export interface CacheOptions {
  /** Folder of the cache, from `locateCache`. */
  readonly root: string;
  readonly index: CacheIndex;
  readonly traces: TraceStore;
  /** Bytes it may hold. */
  readonly limit: number;
  /** Bytes that stay free on its file system. */
  readonly minFree: number;
}

export interface Transfer {
  readonly uri: string;
  readonly size: number;
  readonly cached: number;
  readonly pending: number;
}

/** The part of its bytes that the cache may hold besides as restart points. */
const POINTS_PART = 0.02;

export class ImageCache {
  readonly root: string;
  readonly limit: number;
  /** The restart points of layers. */
  readonly points: SideFiles;
  readonly #options: CacheOptions;
  readonly #eviction: Eviction;
  readonly #images: OpenImages;
  readonly #backgroundFill: BackgroundFill;
  readonly #reserve: Reserve;
  readonly #stored: StoredBytes;
  readonly #starts = new StartLimit();
  #lastBytes = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
    this.root = options.root;
    this.limit = options.limit;
    this.points = new SideFiles(options.root, 'points', options.limit * POINTS_PART);
    this.#eviction = new Eviction(options);
    this.#images = new OpenImages({ ...options, makeRoom: (bytes) => this.makeRoom(bytes) });
    this.#backgroundFill = new BackgroundFill(() => this.#images.values());
    this.#stored = new StoredBytes(options.index);
    this.#reserve = new Reserve(() => this.#eviction.keepReserve());
  }

  /**
   * Repairs what crashes left behind. Then `fit` evicts images over the limit, which may be smaller than last time, and goes on evicting
   * where the disk's reserve is used up; without it, images are evicted only for others that come in.
   */
  async start({ fit = true }: { readonly fit?: boolean | undefined } = {}): Promise<void> {
    try {
      await maintain(this.#options, STARTING_STEPS);
      if (fit) await this.makeRoom(0);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      debug('the cache could not be repaired: %o', error);
    }
    this.#backgroundFill.start();
    if (fit) this.#reserve.start();
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
    return this.#images.fetchedBytes;
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
    const none = { key: ownKeyOf(target, image), bytes: 0 };
    const { key, bytes } = askOr(none, () => this.#stored.of(target, image));
    return this.#images.get(key)?.cachedBytes ?? bytes;
  }

  /**
   * Opens a revision for reading. `target` names the service (a base URL), `source` reads from it. If the cache cannot keep the
   * bytes, reads go through to the service. End every open by one {@link close}.
   */
  open(target: string, image: RemoteImage, source: RangeSource): CachedImage {
    const cached = this.#open(target, image, source);
    cached.references += 1;
    return cached;
  }

  #open(target: string, image: RemoteImage, source: RangeSource): CachedImage {
    const description = describe(target, image);
    const from = { source, sequential: image.sequential ?? false };
    let key: string | undefined;
    try {
      key = keyOf(this.#options.index, target, image);
      this.#eviction.touch(key);
      return this.#images.open(key, description, from);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      debug('%s is not cached: %o', description.uri, error);
    }
    return this.#images.openUnlisted(key ?? ownKeyOf(target, image), description, from);
  }

  /**
   * Says that a program opens this image as a file, perhaps to start a container: what it will read is fetched before it asks, and
   * what it reads is noted for the next time. Not for a program that opens many images. `trace` came with the image: it counts until
   * the image was started here.
   */
  foresee(image: CachedImage, trace?: string): void {
    if (!image.complete && this.#starts.take(image.key)) image.start(trace);
  }

  /**
   * Ends one open. The last one ends what is under way and closes the files; what is present stays. An image opened
   * again meanwhile has files of its own.
   */
  close(image: CachedImage): Promise<void> {
    return this.#images.close(image).finally(() => this.#stored.forget());
  }

  /**
   * Moves a whole local file into the cache as this revision. The caller has checked that it has the image's digest and that
   * nobody writes to it any more. Returns false and leaves the file alone if there is no room, if the revision is open or whole
   * already, or if the file has another size.
   * @param sums of its blocks, if they are known, see {@link BlockSums}; they save reading the file.
   */
  async adopt(target: string, image: RemoteImage, file: string, sums?: readonly number[]): Promise<boolean> {
    try {
      return await this.#adopt(target, image, file, sums);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      return false;
    } finally {
      this.#stored.forget();
    }
  }

  async #adopt(
    target: string,
    image: RemoteImage,
    file: string,
    sums: readonly number[] | undefined,
  ): Promise<boolean> {
    const { index, root } = this.#options;
    const key = keyOf(index, target, image);
    if (index.entries.get(key)?.complete === 1 || !(await this.makeRoom(image.size))) return false;
    const description = describe(target, image);
    await using incoming = await takeIn(root, file, image.size, sums);
    if (incoming === undefined) return false;
    const { data, map, blocks } = incoming;
    return index.install({ key, ...description }, image.digest !== undefined, blocks * BLOCK_SIZE, () => {
      void detach(root, key);
      placeWhole(entryFolder(root, key), data, map, description);
    });
  }

  /** Begins a file of unknown size, for {@link adopt}. Undefined if another process was making it, after that has ended. */
  begin(key: string, expected: number, signal?: AbortSignal): Promise<GrowingFile | undefined> {
    const { index, limit, root } = this.#options;
    const makeRoom = (bytes: number) => this.makeRoom(bytes);
    return GrowingFile.begin(key, expected, { index, limit, root, makeRoom }, signal);
  }

  list(): CacheEntryRow[] {
    return this.#options.index.entries.list();
  }

  /** Closes every image, and waits for closes under way. */
  async stop(): Promise<void> {
    await Promise.all([this.#backgroundFill.stop(), this.#reserve.stop()]);
    await this.#images.closeAll();
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
