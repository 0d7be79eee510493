/** Operations on names: removing, renaming, making folders. Of files being written and of images in registries. */
import { SregistryError } from '../base/errors.ts';
import { IMAGE_EXTENSIONS } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { type Lookup, notFound } from './lookup.ts';
import { exists, type Permissions } from './permissions.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { type ImagePlace, type Place, parentOf, parsePath } from './tree.ts';

const MKDIR_RULE = `a name that ends in ${IMAGE_EXTENSIONS.map((e) => `.${e}`).join(', ')} is an image`;

export class Naming {
  readonly #staging: Staging;
  readonly #lookup: Lookup;
  readonly #permissions: Permissions;

  constructor(staging: Staging, lookup: Lookup, permissions: Permissions) {
    this.#staging = staging;
    this.#lookup = lookup;
    this.#permissions = permissions;
  }

  /** Removes a file that was never pushed, else the image from its registry. */
  async unlink(path: string): Promise<void> {
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#staging.discard(staged);
    const place = parsePath(path);
    if (place?.kind !== 'image') throw notFound(path);
    await this.#remove(path, place, await this.#lookup.existingImage(path, place));
  }

  async rename(from: string, to: string): Promise<void> {
    const [source, target] = [parsePath(from), parsePath(to)];
    if (source === undefined || source.kind === 'root') throw notFound(from);
    if (target === undefined || target.kind === 'root' || parentOf(to) === '/') throw crossBackend(from, to);
    const staged = this.#staging.find(from);
    if (staged !== undefined) return this.#renameStaged(staged, to, target);
    if (this.#lookup.removeFolder(from)) return this.#lookup.makeFolder(to);
    if (source.backend !== target.backend || source.kind !== 'image' || target.kind !== 'image')
      throw crossBackend(from, to);
    await this.#renameImage(from, source, to, target);
  }

  async mkdir(path: string): Promise<void> {
    const place = parsePath(path);
    if (place?.kind !== 'folder' || place.collection === '')
      throw new SregistryError('FORBIDDEN', `${path} cannot be a folder: ${MKDIR_RULE}`);
    await this.#permissions.checkPush(path, place.backend);
    this.#lookup.makeFolder(path);
  }

  async rmdir(path: string): Promise<void> {
    if (this.#staging.list(path).length === 0 && this.#lookup.removeFolder(path)) return;
    throw new SregistryError('FORBIDDEN', `${path} cannot be removed: a collection goes with its last image`);
  }

  async #remove(path: string, place: ImagePlace, image: RemoteImage): Promise<void> {
    this.#permissions.checkDelete(`${path} is not removed from the registry`, 'use sregistry delete');
    const backend = await this.#lookup.backend(place.backend);
    if (backend.remove === undefined)
      throw new SregistryError('UNSUPPORTED', `${backend.name} (${backend.driver}) cannot remove images`);
    await backend.remove(image, this.#lookup.signal());
    this.#lookup.noteChange(backend, place.name, undefined);
  }

  async #renameStaged(
    staged: StagedFile,
    to: string,
    target: Exclude<Place, { kind: 'root' }>,
  ): Promise<void> {
    await this.#permissions.checkPush(to, target.backend);
    const mustBeNew = target.kind === 'image' && this.#permissions.keepsExisting;
    if (mustBeNew && (await this.#lookup.image(to, target)) !== undefined) throw exists(to);
    await this.#staging.rename(staged, to);
  }

  /** Within a backend that can copy by itself; the old name is removed, which needs the permission to. */
  async #renameImage(from: string, source: ImagePlace, to: string, target: ImagePlace): Promise<void> {
    const image = await this.#lookup.existingImage(from, source);
    const backend = await this.#lookup.backend(source.backend);
    this.#permissions.checkDelete(`${from} is not renamed: that removes its old name`, 'copy it');
    if (backend.copy === undefined || backend.remove === undefined) throw crossBackend(from, to);
    const copied = await backend.copy(image, target.name, this.#lookup.signal());
    this.#lookup.noteChange(backend, target.name, copied);
    await this.#remove(from, source, image);
  }
}

function crossBackend(from: string, to: string): SregistryError {
  return new SregistryError('CROSS_BACKEND', `${from} cannot be renamed to ${to} by the registry itself`);
}
