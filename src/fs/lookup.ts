/**
 * What is at a path, as the registries say: images, folders, listings. A path that is open stays at the revision it was
 * opened at; folders that mkdir made are there until the registry knows them by an image.
 */
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import { inspectRemote } from '../client/inspect-remote.ts';
import type { Session } from '../client/session.ts';
import type { ImageName } from '../image/name.ts';
import type { RemoteImage } from '../image/remote.ts';
import { PinnedRevisions } from './pinned.ts';
import { baseOf, fileNameOf, type Place, parentOf } from './tree.ts';

/** A place that stands for an image: its file, or the file that tells about it. */
type OfImage = Extract<Place, { kind: 'image' | 'inspect' }>;

export class Lookup {
  readonly pinned = new PinnedRevisions();
  readonly #session: Session;
  readonly #deadline: number;
  readonly #madeFolders = new Set<string>();

  /** `deadline`: milliseconds within which a question to a service ends. */
  constructor(session: Session, deadline: number) {
    this.#session = session;
    this.#deadline = deadline;
  }

  signal(): AbortSignal {
    return AbortSignal.timeout(this.#deadline);
  }

  /** The backend that is shown under this name. NOT_FOUND where there is none. */
  async backend(name: string): Promise<Backend> {
    if (!this.#session.backendNames.includes(name))
      throw new SregistryError('NOT_FOUND', `There is no backend ${name} in this mount`);
    return this.#session.backend(name);
  }

  /** The image a path shows now, or undefined where there is none. */
  async image(path: string, place: OfImage): Promise<RemoteImage | undefined> {
    const pinned = this.pinned.get(path);
    if (pinned !== undefined) return pinned;
    const backend = await this.backend(place.backend);
    return this.#session.view.resolve(backend, place.name, this.signal());
  }

  /** {@link image}, and NOT_FOUND where there is none. */
  async existingImage(path: string, place: OfImage): Promise<RemoteImage> {
    const image = await this.image(path, place);
    if (image === undefined) throw notFound(path);
    return image;
  }

  async hasFolder(path: string, place: Extract<Place, { kind: 'folder' }>): Promise<boolean> {
    const backend = await this.backend(place.backend);
    if (place.collection === '' || this.#isMade(path)) return true;
    return this.#session.view.hasCollection(backend, place.collection, this.signal());
  }

  /** File and folder names in a folder. `mayBeNew`: something is there that the registry does not know yet. */
  async names(path: string, place: Extract<Place, { kind: 'folder' }>, mayBeNew: boolean): Promise<string[]> {
    const made = [...this.#madeFolders].filter((folder) => parentOf(folder) === path).map(baseOf);
    const isNew = mayBeNew || made.length > 0 || this.#isMade(path);
    return [...made, ...(await this.#listed(place.backend, place.collection, isNew))];
  }

  makeFolder(path: string): void {
    this.#madeFolders.add(path);
  }

  /** Forgets a folder that mkdir made; false where it is none, or holds another. */
  removeFolder(path: string): boolean {
    const isParent = [...this.#madeFolders].some((folder) => parentOf(folder) === path);
    return !isParent && this.#madeFolders.delete(path);
  }

  /** Notes what a name stands for after a change made here; undefined after a removal. */
  noteChange(backend: Backend, name: ImageName, image: RemoteImage | undefined): void {
    this.#session.view.remember(backend, name, image);
    this.#session.view.expireListing(backend, name.collection);
  }

  /** The content of `<image>.json`. */
  async inspectText(backend: Backend, image: RemoteImage): Promise<Buffer> {
    const inspection = await inspectRemote(this.#session, backend, image, this.signal());
    return Buffer.from(`${JSON.stringify(inspection, null, 2)}\n`);
  }

  #isMade(path: string): boolean {
    const below = `${path}/`;
    return [...this.#madeFolders].some((folder) => folder === path || folder.startsWith(below));
  }

  async #listed(backendName: string, collection: string, isNew: boolean): Promise<string[]> {
    const backend = await this.backend(backendName);
    try {
      const { entries } = await this.#session.view.list(backend, collection, this.signal());
      return entries.flatMap((entry) => {
        if (entry.kind === 'collection') return [entry.name];
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
