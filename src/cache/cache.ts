/**
 * The image cache: image bytes on local disk, one entry a revision, shared by every process of the user.
 *
 * `open` gives a {@link CachedImage} for a remote image and the means to read it. An entry is keyed by the digest the
 * service states together with the service itself, so that one service cannot plant bytes under another's digest; once
 * an image is complete and its sha256 was compared, it serves every service that states the same digest.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { copyFile, mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CacheEntryRow, CacheIndex } from '../catalog/cache-index.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { Completion } from './completion.ts';
import { Entry, type EntryDescription, placeWhole } from './entry.ts';
import { detach, Eviction } from './eviction.ts';
import type { RangeSource } from './fetcher.ts';
import { CachedImage } from './image.ts';
import { emptyTrash, entryFolder } from './location.ts';

export interface CacheOptions {
  /** Folder of the cache, from `locateCache`. */
  readonly root: string;
  readonly index: CacheIndex;
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

export class ImageCache {
  readonly root: string;
  readonly limit: number;
  readonly #options: CacheOptions;
  readonly #eviction: Eviction;
  readonly #completion: Completion;
  readonly #images = new Map<string, CachedImage>();
  #fetchedBytes = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
    this.root = options.root;
    this.limit = options.limit;
    this.#eviction = new Eviction(options);
    this.#completion = new Completion(() => this.#images.values());
  }

  /** Frees what is over the limit, as after a start with a smaller one, and what crashes left behind. */
  async start(): Promise<void> {
    await emptyTrash(this.root);
    await this.#eviction.makeRoom(0);
    this.#completion.start();
  }

  /** Bytes that came over the network in this process. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  /** Bytes on disk, of every process. */
  get bytes(): number {
    return this.#options.index.total();
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

  /** Bytes of this revision on local disk; no request, nothing opened. */
  cachedBytes(target: string, image: RemoteImage): number {
    const key = this.#keyOf(target, image);
    const open = this.#images.get(key);
    if (open !== undefined) return open.cachedBytes;
    return Math.min(image.size, this.#options.index.get(key)?.bytes ?? 0);
  }

  /**
   * Opens a revision for reading. `target` names the service (a base URL), `source` reads from it.
   * Every open is ended by one {@link close}.
   */
  open(target: string, image: RemoteImage, source: RangeSource): CachedImage {
    const key = this.#keyOf(target, image);
    this.#eviction.touch(key);
    const known = this.#images.get(key);
    const cached = known ?? this.#create(key, this.#describe(target, image), source);
    cached.references += 1;
    return cached;
  }

  /** Ends one open. The last one closes the files; what is present stays. */
  async close(image: CachedImage): Promise<void> {
    image.references -= 1;
    if (image.references > 0) return;
    if (this.#images.get(image.key) === image) this.#images.delete(image.key);
    await image.close();
    // Reopened meanwhile: the process still has it open.
    if (!this.#images.has(image.key)) this.#options.index.leave(image.key);
  }

  /**
   * Moves a whole local file into the cache as this revision. The caller has checked that it has the image's digest
   * and nobody writes to it any more. Where there is no room, or the revision is open or whole already, the file is
   * left alone; tells whether it was taken.
   */
  async adopt(target: string, image: RemoteImage, file: string): Promise<boolean> {
    const { index, root } = this.#options;
    const key = this.#keyOf(target, image);
    if (index.get(key)?.complete === 1 || !(await this.#eviction.makeRoom(image.size))) return false;
    const description = this.#describe(target, image);
    const local = await bringTo(join(root, 'staging'), file);
    const taken = index.install({ key, ...description }, image.digest !== undefined, () => {
      detach(root, key);
      placeWhole(entryFolder(root, key), local, description);
    });
    if (!taken && local !== file) await rm(local, { force: true });
    return taken;
  }

  /** Frees so many bytes; false where what is left is in use. */
  makeRoom(bytes: number): Promise<boolean> {
    return this.#eviction.makeRoom(bytes);
  }

  list(): CacheEntryRow[] {
    return this.#options.index.list();
  }

  async stop(): Promise<void> {
    await this.#completion.stop();
    await Promise.all(
      [...this.#images.values()].map(async (image) => {
        this.#images.delete(image.key);
        await image.close();
        this.#options.index.leave(image.key);
      }),
    );
  }

  #describe(target: string, image: RemoteImage): EntryDescription {
    return {
      uri: `${target}/${formatImageName(image.name)}`,
      size: image.size,
      digest: image.digest,
      revision: image.revision,
    };
  }

  #create(key: string, description: EntryDescription, source: RangeSource): CachedImage {
    const { index, limit, root } = this.#options;
    const { uri, size, digest } = description;
    const { row, entry } = enter(index, key, entryFolder(root, key), description);
    // Files may have been lost or written without the index knowing: what is on disk counts.
    if (row.complete === 0 || !entry.map.complete) index.recount(key, entry.bytes);
    const cached = new CachedImage({
      key,
      uri,
      digest,
      entry,
      index,
      source,
      limit,
      makeRoom: (bytes) => this.#eviction.makeRoom(bytes),
      onBytes: (bytes) => {
        this.#fetchedBytes += bytes;
      },
      quarantine: () => this.#quarantine(key, uri, size),
    });
    this.#images.set(key, cached);
    return cached;
  }

  /** Sets wrong bytes aside under another key, where nothing reads them and eviction finds them. */
  #quarantine(key: string, uri: string, size: number): void {
    const { index, root } = this.#options;
    const aside = `quarantine-${Date.now()}-${key}`;
    this.#images.delete(key);
    index.discard(key, () => {
      const folder = entryFolder(root, aside);
      mkdirSync(dirname(folder), { recursive: true });
      renameSync(entryFolder(root, key), folder);
    });
    index.enter({ key: aside, uri, size });
    index.recount(aside, size);
    index.leave(aside);
  }

  #keyOf(target: string, image: RemoteImage): string {
    const verified = image.digest && this.#options.index.findVerified(image.digest);
    if (verified && verified.size === image.size) return verified.key;
    const name = image.digest === undefined ? formatImageName(image.name) : '';
    const identity = [target, image.origin ?? '', name, image.revision, image.size];
    return createHash('sha256').update(JSON.stringify(identity)).digest('hex');
  }
}

/** Enters an image and opens its files, making them if they are not there. */
function enter(index: CacheIndex, key: string, folder: string, description: EntryDescription) {
  let entry: Entry | undefined;
  const row = index.enter({ key, ...description }, () => {
    entry = new Entry(folder, description);
  });
  return { row, entry: entry as Entry };
}

/** Makes a file renameable into the cache: itself where it is on the same file system, else a copy in `folder`. */
async function bringTo(folder: string, file: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const [here, there] = await Promise.all([stat(folder), stat(file)]);
  if (here.dev === there.dev) return file;
  const copy = join(folder, `adopt-${randomUUID()}`);
  await copyFile(file, copy);
  return copy;
}
