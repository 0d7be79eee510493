/**
 * Operations on names: removes and renames files being written and images in registries, and makes folders.
 *
 * A rename to another spelling of the same image (`x:1.simg` to `x:1.sif`) changes nothing, as rename(2) requires for two names
 * of one file.
 */
import type { Backend } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { IMAGE_EXTENSIONS } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { type Lookup, notFound } from './lookup.ts';
import { exists, type Permissions } from './permissions.ts';
import type { Removals } from './removals.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { type ImagePath, keyOf, type ParsedPath, parentOf, parsePath } from './tree.ts';

type Target = Exclude<ParsedPath, { kind: 'root' }>;

const MKDIR_RULE = `a name that ends in ${IMAGE_EXTENSIONS.map((e) => `.${e}`).join(', ')} is an image`;

export class Naming {
  readonly #staging: Staging;
  readonly #lookup: Lookup;
  readonly #permissions: Permissions;
  readonly #removals: Removals;

  constructor(staging: Staging, lookup: Lookup, permissions: Permissions, removals: Removals) {
    this.#staging = staging;
    this.#lookup = lookup;
    this.#permissions = permissions;
    this.#removals = removals;
  }

  /** Removes a file that is not in a registry, else the image from its registry. */
  unlink(path: string, signal: AbortSignal): Promise<void> {
    return this.#holding(path, (staged) => this.#unlink(path, staged, signal));
  }

  async #unlink(path: string, staged: StagedFile | undefined, signal: AbortSignal): Promise<void> {
    if (staged !== undefined && !staged.isInRegistry) return this.#staging.discard(staged);
    const parsed = parsePath(path);
    if (parsed?.kind !== 'image') throw notFound(path);
    this.#checkUnread(path);
    await this.#remove(path, parsed, await this.#imageOf(path, parsed, staged, signal), signal);
    if (staged !== undefined) await this.#staging.discard(staged);
  }

  /** Frees the name of an open image that is about to be removed, or replaced by a rename. */
  hide(path: string, signal: AbortSignal): Promise<void> {
    return this.#holding(path, (staged) => this.#hide(path, staged, signal));
  }

  async #hide(path: string, staged: StagedFile | undefined, signal: AbortSignal): Promise<void> {
    if (staged !== undefined && !staged.isInRegistry) return this.#staging.discard(staged);
    const parsed = parsePath(path);
    if (parsed?.kind !== 'image') throw notFound(path);
    this.#checkUnread(path);
    const image = await this.#imageOf(path, parsed, staged, signal);
    const backend = await this.#lookup.backend(parsed.backend);
    const key = keyOf(path);
    this.#removals.begin(
      key,
      {
        path,
        check: () => this.#checkRemove(path, backend),
        remove: () => this.#removeNow(parsed, backend, image, this.#lookup.signal()),
      },
      this.#staging.hasClosed(parsed.backend),
    );
    this.#lookup.openRevisions.detach(key);
    if (staged !== undefined) await this.#staging.discard(staged);
  }

  async rename(from: string, to: string, signal: AbortSignal): Promise<void> {
    // libfuse has hidden the file for this rename, so it is not removed, even if the rename fails.
    await this.#removals.supersede(keyOf(to));
    await this.#holding(from, (staged) => this.#rename(from, to, staged, signal));
  }

  async #rename(
    from: string,
    to: string,
    staged: StagedFile | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const [source, target] = [parsePath(from), parsePath(to)];
    if (source === undefined || source.kind === 'root') throw notFound(from);
    if (target === undefined || target.kind === 'root' || parentOf(to) === '/') throw crossBackend(from, to);
    if (staged !== undefined && !staged.isInRegistry) return this.#renameStaged(staged, to, target, signal);
    if (this.#lookup.removeFolder(from)) return this.#lookup.makeFolder(to);
    if (source.backend !== target.backend || source.kind !== 'image' || target.kind !== 'image')
      throw crossBackend(from, to);
    const image = await this.#imageOf(from, source, staged, signal);
    const isOther = keyOf(from) !== keyOf(to);
    const renamed = isOther ? await this.#renameImage(from, source, image, to, target, signal) : image;
    this.#lookup.openRevisions.move({ key: keyOf(from), path: from }, { key: keyOf(to), path: to }, renamed);
    if (staged !== undefined) this.#staging.follow(staged, to, renamed);
  }

  async mkdir(path: string): Promise<void> {
    const parsed = parsePath(path);
    if (parsed?.kind !== 'folder' || parsed.collection === '')
      throw new SregistryError('FORBIDDEN', `${path} cannot be a folder: ${MKDIR_RULE}`);
    await this.#permissions.checkPush(path, parsed.backend);
    const backend = await this.#lookup.backend(parsed.backend);
    if (backend.isCollectionName?.(parsed.collection) === false)
      throw new SregistryError('INVALID_NAME', `${path} cannot be a collection of ${backend.target}`);
    this.#lookup.makeFolder(path);
  }

  async rmdir(path: string): Promise<void> {
    if (this.#staging.list(path).length === 0 && this.#lookup.removeFolder(path)) return;
    throw new SregistryError(
      'FORBIDDEN',
      `${path} cannot be removed: a collection disappears with its last image`,
    );
  }

  /**
   * Runs `act` on the file being written at a path, while no push of it is under way. The file's state tells what the path
   * stands for.
   */
  async #holding(path: string, act: (staged: StagedFile | undefined) => Promise<void>): Promise<void> {
    const staged = this.#staging.find(path);
    if (staged === undefined) return act(undefined);
    await this.#staging.hold(staged);
    try {
      await act(this.#staging.find(path));
    } finally {
      await this.#staging.letGo(staged);
    }
  }

  /** The registry's image at a path. `staged` is the file that shows the image, if any. */
  async #imageOf(
    path: string,
    parsed: ImagePath,
    staged: StagedFile | undefined,
    signal: AbortSignal,
  ): Promise<RemoteImage> {
    return staged?.remote ?? this.#lookup.existingImage(path, parsed, signal);
  }

  async #remove(path: string, parsed: ImagePath, image: RemoteImage, signal: AbortSignal): Promise<void> {
    const backend = await this.#lookup.backend(parsed.backend);
    this.#checkRemove(path, backend);
    await this.#removeNow(parsed, backend, image, signal);
  }

  #checkRemove(path: string, backend: Backend): void {
    this.#permissions.checkDelete(`Refusing to remove ${path} from the registry`, 'use sregistry delete');
    if (backend.remove !== undefined) return;
    throw new SregistryError('UNSUPPORTED', `${backend.name} (${backend.driver}) cannot remove images`);
  }

  async #removeNow(
    parsed: ImagePath,
    backend: Backend,
    image: RemoteImage,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#lookup
      .current(backend, image)
      .use(async (current) => backend.remove?.(current, signal), signal);
    this.#lookup.noteChange(backend, parsed.name, undefined);
  }

  async #renameStaged(staged: StagedFile, to: string, target: Target, signal: AbortSignal): Promise<void> {
    await this.#permissions.checkPush(to, target.backend);
    if (keyOf(to) !== staged.key) {
      if (target.kind === 'image') await this.#checkNew(to, target, signal);
      this.#checkUnread(to);
      await this.#replaceStaged(to);
    }
    await this.#staging.rename(staged, to);
  }

  /** Renames within a backend that can copy by itself. That removes the old name, so the mount must allow deletes. */
  async #renameImage(
    from: string,
    source: ImagePath,
    image: RemoteImage,
    to: string,
    target: ImagePath,
    signal: AbortSignal,
  ): Promise<RemoteImage> {
    const backend = await this.#lookup.backend(source.backend);
    this.#permissions.checkDelete(`Refusing to rename ${from}: that would remove its old name`, 'copy it');
    const { copy, remove } = backend;
    if (copy === undefined || remove === undefined) throw crossBackend(from, to);
    await this.#checkNew(to, target, signal);
    this.#checkUnread(from);
    this.#checkUnread(to);
    const copied = await this.#lookup
      .current(backend, image)
      .use((current) => copy.call(backend, current, target.name, signal), signal);
    this.#lookup.noteChange(backend, target.name, copied);
    await this.#replaceStaged(to);
    await this.#removeNow(source, backend, image, signal);
    return copied;
  }

  /** Throws EXISTS if the path exists and must not be replaced. */
  async #checkNew(path: string, parsed: ImagePath, signal: AbortSignal): Promise<void> {
    if (!this.#permissions.keepsExisting) return;
    const isThere = this.#staging.find(path)?.isInRegistry || (await this.#lookup.image(parsed, signal));
    if (isThere) throw exists(path);
  }

  /**
   * Throws BUSY if the image is open for reading under another spelling of its name. The kernel takes that for another file,
   * whose readers would see bytes of both images. (Readers under this very path keep their revision: see removals.ts.)
   */
  #checkUnread(path: string): void {
    if (!this.#lookup.openRevisions.isHeldElsewhere(keyOf(path), path)) return;
    throw new SregistryError('BUSY', `${path} is open for reading under another spelling of its name`, {
      hint: 'Try again when its readers are done',
    });
  }

  /** Discards the file being written at a path, which another file replaces. */
  async #replaceStaged(path: string): Promise<void> {
    const replaced = this.#staging.find(path);
    if (replaced !== undefined) await this.#staging.discard(replaced);
  }
}

function crossBackend(from: string, to: string): SregistryError {
  return new SregistryError('CROSS_BACKEND', `The registry cannot rename ${from} to ${to}`);
}
