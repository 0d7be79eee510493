/**
 * What the registries have at a path: images, folders, listings. An open image stays at the revision it was opened at. A
 * folder that mkdir made exists until the registry has an image in it.
 *
 * Every method takes the signal of the operation that calls it, so that an operation with several questions has one deadline.
 */
import { LRUCache } from 'lru-cache';
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import type { CurrentImage } from '../client/current-image.ts';
import { inspectRemote } from '../client/inspect-remote.ts';
import type { Session } from '../client/session.ts';
import { warm } from '../client/warm-up.ts';
import type { ImageName } from '../image/name.ts';
import type { RemoteImage } from '../image/remote.ts';
import { OpenRevisions } from './open-revisions.ts';
import type { Removals } from './removals.ts';
import {
  baseOf,
  type FolderPath,
  fileNameOf,
  imageKey,
  keyOf,
  looksLikeFile,
  type ParsedPath,
  parentOf,
} from './tree.ts';

/** Milliseconds within which an open follows its `stat`: the kernel keeps the size that `stat` returned (fuse.ts). */
const SHOWN = 1_000;

/** A path that stands for an image: its file, or the file that tells about it. */
export type OfImage = Extract<ParsedPath, { kind: 'image' | 'inspect' }>;

export class Lookup {
  readonly openRevisions = new OpenRevisions();
  readonly #session: Session;
  readonly #deadline: number;
  readonly #removals: Removals;
  /** Backends that were used. */
  readonly #backends = new Map<string, Backend>();
  readonly #madeFolders = new Set<string>();
  readonly #shown = new LRUCache<string, RemoteImage>({ max: 10_000, ttl: SHOWN });

  /** `deadline`: milliseconds within which an operation ends. `removals`: images whose registries still have them. */
  constructor(session: Session, deadline: number, removals: Removals) {
    this.#session = session;
    this.#deadline = deadline;
    this.#removals = removals;
  }

  /** The deadline of one operation, from now. */
  signal(): AbortSignal {
    return AbortSignal.timeout(this.#deadline);
  }

  /** The folders at the top. */
  get backendNames(): readonly string[] {
    return this.#session.backendNames;
  }

  /** The backend that is shown under this name. Throws NOT_FOUND if none is. */
  async backend(name: string): Promise<Backend> {
    if (!this.#session.backendNames.includes(name))
      throw new SregistryError('NOT_FOUND', `There is no backend ${name} in this mount`);
    const backend = await this.#session.backend(name);
    this.#backends.set(name, backend);
    return backend;
  }

  /** The image that a path shows now; undefined if it shows none. */
  async image(parsed: OfImage, signal: AbortSignal): Promise<RemoteImage | undefined> {
    const key = imageKey(parsed.backend, parsed.name);
    const open = this.openRevisions.get(key);
    if (open !== undefined) return open;
    if (this.#removals.has(key)) return undefined;
    const backend = await this.backend(parsed.backend);
    // Whoever asks for one image may open it, and what that fetches needs connections.
    if (!this.#session.metadata.images.has(backend, parsed.name)) warm(this.#session, backend);
    return this.#session.layered.sized(
      await this.#session.metadata.images.resolve(backend, parsed.name, signal),
    );
  }

  /** As {@link image}, but throws NOT_FOUND if the path shows none. */
  async existingImage(path: string, parsed: OfImage, signal: AbortSignal): Promise<RemoteImage> {
    const image = await this.image(parsed, signal);
    if (image === undefined) throw notFound(path);
    return image;
  }

  /**
   * The image whose attributes the kernel is told now, as far as a listing tells: perhaps without digest and annotations. Undefined if
   * only {@link shownImage} tells.
   */
  listedImage({ backend: name, name: image }: OfImage): { backend: Backend; image: RemoteImage } | undefined {
    const backend = this.#backends.get(name);
    const key = imageKey(name, image);
    if (backend === undefined || this.openRevisions.get(key) !== undefined || this.#removals.has(key))
      return undefined;
    const listed = this.#session.layered.sized(this.#session.metadata.look(backend, image));
    if (listed === undefined) return undefined;
    if (this.#shown.peek(key)?.revision !== listed.revision) this.#shown.delete(key);
    return { backend, image: listed };
  }

  /** The image whose attributes the kernel is told now. */
  async shownImage(path: string, parsed: OfImage, signal: AbortSignal): Promise<RemoteImage> {
    const image = await this.existingImage(path, parsed, signal);
    this.#shown.set(imageKey(parsed.backend, parsed.name), image);
    return image;
  }

  /** Notes that the kernel has since been told of something else at this path. */
  showOther(path: string): void {
    this.#shown.delete(keyOf(path));
  }

  /**
   * {@link image}, for opening it: the revision that the kernel was told of a moment ago, if any. The kernel would cut a newer
   * revision to the size that it knows.
   */
  async imageToOpen(parsed: OfImage, signal: AbortSignal): Promise<RemoteImage | undefined> {
    const key = imageKey(parsed.backend, parsed.name);
    const shown = this.#removals.has(key) ? undefined : this.#shown.get(key);
    return shown !== undefined && this.openRevisions.get(key) === undefined
      ? shown
      : this.image(parsed, signal);
  }

  /**
   * Does the folder exist? The kernel looks up each folder of a path and does not say what for. So a folder that may lead to an image
   * is taken to exist, without a question to its service: then a path costs what it names, and copying into a new collection needs no
   * mkdir. Reading the folder tells what is there. Only a name that looks like a file's is looked up in the listing of its parent,
   * because the next call may create that file.
   */
  async hasFolder(path: string, parsed: FolderPath, signal: AbortSignal): Promise<boolean> {
    const backend = await this.backend(parsed.backend);
    const { collection } = parsed;
    if (collection === '' || this.#isMade(path)) return true;
    if (backend.isCollectionName?.(collection) === false) return false;
    if (!looksLikeFile(path)) return true;
    return this.#session.metadata.listings.hasCollection(backend, collection, signal);
  }

  /** File and folder names in a folder. `mayBeNew`: something is there that the registry does not know yet. */
  async names(path: string, parsed: FolderPath, mayBeNew: boolean, signal: AbortSignal): Promise<string[]> {
    const made = [...this.#madeFolders].filter((folder) => parentOf(folder) === path).map(baseOf);
    const isNew = mayBeNew || made.length > 0 || this.#isMade(path);
    return [...made, ...(await this.#listed(parsed.backend, parsed.collection, isNew, signal))];
  }

  makeFolder(path: string): void {
    this.#madeFolders.add(path);
  }

  /** Forgets a folder that mkdir made. Returns false if mkdir did not make it, or if another folder is in it. */
  removeFolder(path: string): boolean {
    const isParent = [...this.#madeFolders].some((folder) => parentOf(folder) === path);
    return !isParent && this.#madeFolders.delete(path);
  }

  /** Notes what a name stands for after a change made here; undefined after a removal. */
  noteChange(backend: Backend, name: ImageName, image: RemoteImage | undefined): void {
    this.#shown.delete(imageKey(backend.name, name));
    this.#session.metadata.noteChange(backend, name, image);
  }

  /** An image to use as it is remembered. If it is STALE, the next open gets the new revision. */
  current(backend: Backend, image: RemoteImage): CurrentImage {
    return this.#session.current(backend, image, this.changeOf(backend, image));
  }

  /** {@link noteChange} for the name of an image. */
  changeOf(backend: Backend, { name }: RemoteImage): (now: RemoteImage | undefined) => void {
    return (now) => this.noteChange(backend, name, now);
  }

  /** The content of `<image>.json`. */
  async inspectText(backend: Backend, image: RemoteImage, signal: AbortSignal): Promise<Buffer> {
    const inspection = await inspectRemote(this.#session, backend, image, signal);
    return Buffer.from(`${JSON.stringify(inspection, null, 2)}\n`);
  }

  #isMade(path: string): boolean {
    const below = `${path}/`;
    return [...this.#madeFolders].some((folder) => folder === path || folder.startsWith(below));
  }

  async #listed(
    backendName: string,
    collection: string,
    isNew: boolean,
    signal: AbortSignal,
  ): Promise<string[]> {
    const backend = await this.backend(backendName);
    const removals = this.#removals.isEmpty ? undefined : this.#removals;
    try {
      const { entries } = await this.#session.metadata.listings.list(backend, collection, signal);
      return entries.flatMap((entry) => {
        if (entry.kind === 'collection') return [entry.name];
        if (removals?.has(imageKey(backendName, entry.name))) return [];
        return (
          fileNameOf(entry.name, entry.remote?.extension ?? entry.extension ?? this.#session.extension) ?? []
        );
      });
    } catch (error) {
      if (isNew && isError(error, 'NOT_FOUND')) return [];
      throw error;
    }
  }
}

export function notFound(path: string): SregistryError {
  return new SregistryError('NOT_FOUND', `${path} does not exist`);
}
