/**
 * The images that this process has open. Opens of one revision share a {@link CachedImage}, which the last close ends. The index
 * notes each image for as long as it is open, so that no process evicts it.
 *
 * An image leaves the table as soon as it is being closed, or its bytes turn out to be wrong: whoever opens the revision from
 * then on gets new files.
 */
import { mkdirSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { debugLog } from '../log/index.ts';
import type { TraceStore } from './cold-start.ts';
import { Entry } from './entry.ts';
import type { EntryDescription } from './entry-files.ts';
import { CachedImage } from './image.ts';
import { entryFolder } from './location.ts';
import { QUARANTINE } from './maintenance.ts';
import type { RangeSource } from './receive.ts';

const debug = debugLog('cache');

/** Images to remember as in doubt. */
const MAX_DOUBTS = 100_000;

export interface OpenImagesOptions {
  readonly root: string;
  readonly index: CacheIndex;
  readonly traces: TraceStore;
  /** Bytes the cache may hold. */
  readonly limit: number;
  makeRoom(bytes: number): Promise<boolean>;
}

/** Where the bytes of an image come from. */
export interface ImageSource {
  readonly source: RangeSource;
  readonly sequential: boolean;
}

export class OpenImages {
  readonly #options: OpenImagesOptions;
  /** What an open finds, by key. */
  readonly #images = new Map<string, CachedImage>();
  /** The index's number of each opening that has not ended. */
  readonly #openings = new Map<CachedImage, number>();
  readonly #closing = new Set<Promise<void>>();
  /** By key, the number of the last doubt about bytes that were handed out. */
  readonly #doubts = new LRUCache<string, number>({ max: MAX_DOUBTS });
  #doubtsSoFar = 0;
  #fetchedBytes = 0;

  constructor(options: OpenImagesOptions) {
    this.#options = options;
  }

  /** Bytes that came over the network. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
  }

  values(): Iterable<CachedImage> {
    return this.#images.values();
  }

  get(key: string): CachedImage | undefined {
    return this.#images.get(key);
  }

  /** Opens an image whose entry the index notes. Throws if the index or the disk cannot keep one. */
  open(key: string, description: EntryDescription, source: ImageSource): CachedImage {
    const known = this.get(key);
    if (known !== undefined) return known;
    const { index } = this.#options;
    const { row, opening, opened } = this.#openEntry(key, description);
    const isCompared = row.complete === 1 && opened.map.complete;
    const image = this.#add(key, description, source, opened, isCompared);
    this.#openings.set(image, opening);
    // Files may have been lost or written without the index knowing: what is on disk counts.
    if (!isCompared) index.recount(key, opened);
    else if (row.stamp === opened.stamp()) opened.trustAll();
    return image;
  }

  /** Opens an image without the index. Bytes that are on disk already can be read all the same. */
  openUnlisted(key: string, description: EntryDescription, source: ImageSource): CachedImage {
    const known = this.get(key);
    if (known !== undefined) return known;
    const entry = Entry.openExisting(entryFolder(this.#options.root, key), description.size);
    return this.#add(key, description, source, entry, false);
  }

  /** Ends one open. The last one closes the image. */
  async close(image: CachedImage): Promise<void> {
    image.references -= 1;
    if (image.references > 0) return;
    if (image.isFilling) void this.#endWhenFilled(image);
    else await this.#end(image);
  }

  /** Closes every image, and waits for closes under way. */
  async closeAll(): Promise<void> {
    await Promise.allSettled([...this.#openings.keys()].map((image) => this.#end(image)));
    await Promise.allSettled(this.#closing);
  }

  /**
   * Lets a fetch of a whole image continue to its end, as the service would count another one, and what a start needs, as the next
   * program opens the image in a moment. Closing the cache ends it.
   */
  async #endWhenFilled(image: CachedImage): Promise<void> {
    await image.settled();
    if (image.references > 0 || image.state !== 'open') return;
    await this.#end(image).catch((error: unknown) => debug('%s was not closed: %o', image.uri, error));
  }

  #doubt(key: string): void {
    this.#doubtsSoFar += 1;
    this.#doubts.set(key, this.#doubtsSoFar);
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

  #add(
    key: string,
    { uri, size, digest }: EntryDescription,
    { source, sequential }: ImageSource,
    entry: Entry | undefined,
    isCompared: boolean,
  ): CachedImage {
    const { index, limit, makeRoom, traces } = this.#options;
    const image: CachedImage = new CachedImage({
      key,
      uri,
      size,
      digest,
      entry,
      isCompared,
      index,
      traces,
      source,
      sequential,
      limit,
      makeRoom,
      onBytes: (bytes) => {
        if (source.decoded === undefined) this.#fetchedBytes += bytes;
      },
      quarantine: (wrong) => this.#quarantine(image, wrong),
      retire: () => this.#retire(image),
      doubts: () => this.#doubts.get(key) ?? 0,
      onDoubt: () => this.#doubt(key),
    });
    this.#images.set(key, image);
    return image;
  }

  /** Opens the files of an entry, making them if they are not there, and notes that in the index. */
  #openEntry(key: string, description: EntryDescription) {
    const { index, root } = this.#options;
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

  /** Sets wrong bytes aside under another key, where nothing reads them and eviction finds them. */
  #quarantine(image: CachedImage, entry: Entry): void {
    const { index, root } = this.#options;
    const { key, uri, size } = image;
    this.#doubt(key);
    this.#retire(image);
    const aside = `${QUARANTINE}${Date.now()}-${key}`;
    index.setAside(key, { key: aside, uri, size }, entry, () => {
      const folder = entryFolder(root, aside);
      mkdirSync(dirname(folder), { recursive: true });
      renameSync(entryFolder(root, key), folder);
    });
  }
}
