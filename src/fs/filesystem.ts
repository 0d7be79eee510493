/**
 * The filesystem: what each operation on a path of the mount means, with no FUSE in it. Operations take and give plain
 * values, throw errors (src/fs/errno.ts turns them into errno), and can be called in any order at any time.
 *
 * A path is, in this order: a file being written, a revision that is open, what the registry says. While a file is open
 * its path stays on the revision it was opened at, for every reader: the kernel keeps one set of pages a path, and
 * bytes of two revisions must not meet there.
 */
import { constants as fsConstants } from 'node:fs';
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import { inspectRemote } from '../client/inspect-remote.ts';
import type { Session } from '../client/session.ts';
import type { ImageName } from '../image/name.ts';
import { IMAGE_EXTENSIONS } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { type Attributes, fileAttributes, folderAttributes, type Ownership } from './attributes.ts';
import { ErrorNotes } from './error-notes.ts';
import { CachedFile, LocalFile, type OpenFile, StagedHandle, TextFile } from './handles.ts';
import { PinnedRevisions } from './pinned.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { baseOf, fileNameOf, type ImagePlace, type Place, parentOf, parsePath } from './tree.ts';
import { attributeNames, attributeValue } from './xattrs.ts';

export interface FilesystemOptions {
  readonly readOnly: boolean;
  readonly allowDelete: boolean;
  readonly noOverwrite: boolean;
  /** Milliseconds within which an operation that asks a service ends. Pushes end when the service does. */
  readonly deadline: number;
}

const {
  O_ACCMODE = 3,
  O_TRUNC,
  O_EXCL,
  O_CREAT,
} = fsConstants as typeof fsConstants & {
  O_ACCMODE?: number;
};

/** libfuse renames a file that is removed while open to this, and removes it when it is closed. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]+$/;

export class Filesystem {
  readonly errors = new ErrorNotes();
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #options: FilesystemOptions;
  readonly #owner: Ownership;
  readonly #handles = new Map<number, OpenFile>();
  readonly #pinned = new PinnedRevisions();
  /** Folders made by mkdir that the registry does not know yet. */
  readonly #madeFolders = new Set<string>();
  /** What removed files looked like that are still open, by their hidden path. */
  readonly #hidden = new Map<string, Attributes>();
  #nextHandle = 1;

  constructor(session: Session, staging: Staging, options: FilesystemOptions) {
    this.#session = session;
    this.#staging = staging;
    this.#options = options;
    this.#owner = {
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      writable: !options.readOnly,
      since: new Date(),
    };
  }

  /** Handles open now. */
  get openFiles(): number {
    return this.#handles.size;
  }

  async getattr(path: string): Promise<Attributes> {
    const staged = this.#staging.find(path);
    if (staged !== undefined) return fileAttributes(this.#owner, stagedStat(staged));
    const hidden = this.#hidden.get(path);
    if (hidden !== undefined) return hidden;
    const place = parsePath(path);
    if (place === undefined || isForeign(path)) throw notFound(path);
    if (place.kind === 'root') return folderAttributes(this.#owner);
    if (!this.#session.backendNames.includes(place.backend)) throw notFound(path);
    if (place.kind === 'folder') return this.#folder(path, place.backend, place.collection);
    const backend = await this.#session.backend(place.backend);
    const image = await this.#image(path, place);
    if (image === undefined) throw notFound(path);
    if (place.kind === 'inspect') {
      const { length } = await this.#inspectText(backend, image);
      return fileAttributes(this.#owner, { size: length, modified: image.modified });
    }
    const cached = this.#session.cachedBytes(backend, image);
    return fileAttributes(this.#owner, {
      size: image.size,
      modified: image.modified,
      local: cached,
      closed: image.unpresentable !== undefined,
    });
  }

  async readdir(path: string): Promise<string[]> {
    const place = parsePath(path);
    if (place?.kind === 'root') return [...this.#session.backendNames];
    if (place?.kind !== 'folder') throw new SregistryError('NOT_FOUND', `${path} is not a folder`);
    if (!this.#session.backendNames.includes(place.backend)) throw notFound(path);
    const names = new Set<string>(this.#staging.list(path));
    for (const folder of this.#madeFolders) if (parentOf(folder) === path) names.add(baseOf(folder));
    for (const name of await this.#listed(
      place.backend,
      place.collection,
      names.size > 0 || this.#isMade(path),
    )) {
      names.add(name);
    }
    return [...names];
  }

  async open(path: string, flags: number): Promise<number> {
    const writes = (flags & O_ACCMODE) !== fsConstants.O_RDONLY;
    if (writes) this.#checkWritable(path);
    const staged = this.#staging.find(path);
    if (staged !== undefined) {
      if (writes && flags & O_TRUNC) await this.#truncateStaged(staged, 0);
      return this.#add(this.#stagedHandle(path, staged));
    }
    const place = parsePath(path);
    if (place?.kind === 'folder' && !writes) throw new SregistryError('NOT_FOUND', `${path} is not a file`);
    if (place?.kind !== 'image' && place?.kind !== 'inspect') throw notFound(path);
    const image = await this.#image(path, place);
    if (image === undefined) {
      if (writes && flags & O_CREAT) return this.create(path);
      throw notFound(path);
    }
    const backend = await this.#session.backend(place.backend);
    if (place.kind === 'inspect') {
      if (writes) throw readOnly(path, 'it is made from the image beside it');
      return this.#add(new TextFile(path, await this.#inspectText(backend, image)));
    }
    if (writes) return this.#openForUpdate(path, backend, image, flags);
    if (image.unpresentable !== undefined)
      throw new SregistryError('NOT_PRESENTABLE', `${path}: ${image.unpresentable}`);
    return this.#add(await this.#openImage(path, backend, image));
  }

  async create(path: string): Promise<number> {
    this.#checkWritable(path);
    const place = parsePath(path);
    if (place === undefined || place.kind === 'root' || parentOf(path) === '/')
      throw new SregistryError('FORBIDDEN', `${path} cannot be created: files live in a registry's folder`);
    await this.#checkPush(path, await this.#session.backend(place.backend));
    return this.#add(this.#stagedHandle(path, await this.#staging.create(path)));
  }

  async read(
    handle: number,
    target: Uint8Array,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<number> {
    const file = this.#get(handle);
    if (file instanceof CachedFile) signal ??= this.#signal();
    return file.read(target, offset, length, signal);
  }

  async write(handle: number, source: Uint8Array, offset: number, length: number): Promise<number> {
    const { staged, path } = this.#get(handle);
    if (staged === undefined) throw readOnly(path, 'it was opened for reading');
    await staged.write(source, offset, length);
    this.#staging.noteChange(staged);
    return length;
  }

  /** What `close()` returns: for a whole image, the outcome of its push. */
  async flush(handle: number): Promise<void> {
    const { staged } = this.#get(handle);
    if (staged !== undefined) await this.#staging.flush(staged);
  }

  async fsync(handle: number): Promise<void> {
    await this.#get(handle).staged?.sync();
  }

  async release(handle: number): Promise<void> {
    const file = this.#get(handle);
    this.#handles.delete(handle);
    this.#pinned.unpin(file.path, file.image);
    await file.close();
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    const { staged, path } = this.#get(handle);
    if (staged === undefined) throw readOnly(path, 'it was opened for reading');
    await this.#truncateStaged(staged, size);
  }

  async truncate(path: string, size: number): Promise<void> {
    const handle = await this.open(path, fsConstants.O_WRONLY);
    try {
      await this.ftruncate(handle, size);
    } finally {
      await this.release(handle);
    }
  }

  async unlink(path: string): Promise<void> {
    this.#checkWritable(path);
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#staging.discard(staged);
    if (this.#hidden.delete(path)) return;
    const place = parsePath(path);
    if (place?.kind !== 'image') throw notFound(path);
    const image = await this.#image(path, place);
    if (image === undefined) throw notFound(path);
    await this.#remove(path, place, image);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#checkWritable(from);
    const [source, target] = [parsePath(from), parsePath(to)];
    if (source === undefined || target === undefined || source.kind === 'root' || target.kind === 'root')
      throw notFound(from);
    const staged = this.#staging.find(from);
    if (HIDDEN.test(baseOf(to))) return this.#hide(from, to, staged);
    if (staged !== undefined) return this.#renameStaged(staged, to, target);
    if (this.#madeFolders.delete(from)) {
      this.#madeFolders.add(to);
      return;
    }
    if (source.backend !== target.backend) throw crossBackend(from, to);
    if (source.kind !== 'image' || target.kind !== 'image')
      throw new SregistryError('CROSS_BACKEND', `${from} cannot be renamed: only images can`);
    await this.#renameImage(from, source, target);
  }

  async mkdir(path: string): Promise<void> {
    this.#checkWritable(path);
    const place = parsePath(path);
    if (place?.kind !== 'folder' || place.collection === '')
      throw new SregistryError('FORBIDDEN', `${path} cannot be a folder: ${MKDIR_RULE}`);
    await this.#checkPush(path, await this.#session.backend(place.backend));
    this.#madeFolders.add(path);
  }

  async rmdir(path: string): Promise<void> {
    this.#checkWritable(path);
    const isEmpty =
      !this.#staging.list(path).length && ![...this.#madeFolders].some((f) => parentOf(f) === path);
    if (isEmpty && this.#madeFolders.delete(path)) return;
    throw new SregistryError('FORBIDDEN', `${path} cannot be removed: a collection goes with its last image`);
  }

  /** Attributes that registries do not keep (mode, owner, times) are accepted and not kept, so that copies succeed. */
  async setAttributes(path: string): Promise<void> {
    this.#checkWritable(path);
    await this.getattr(path);
  }

  async listxattr(path: string): Promise<string[]> {
    return attributeNames(await this.#xattrSubject(path));
  }

  /** The value, or undefined where the path has no such attribute. */
  async getxattr(path: string, name: string): Promise<Buffer | undefined> {
    if (!name.startsWith('user.sregistry.')) return undefined;
    const value = await attributeValue(await this.#xattrSubject(path), name);
    return value === undefined ? undefined : Buffer.from(value);
  }

  /** Bytes the cache may hold and holds, as the size and use of the filesystem. */
  statfs(): { size: number; free: number } {
    const { bytes, limit } = this.#session.cache;
    return { size: limit, free: Math.max(0, limit - bytes) };
  }

  /** Closes every handle, as when the mount ends. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#handles.keys()].map((handle) => this.release(handle)));
  }

  #add(file: OpenFile): number {
    const handle = this.#nextHandle;
    // 0 means "no handle" to the adapter, and it keeps 32 bits.
    this.#nextHandle = this.#nextHandle >= 0x7fffffff ? 1 : this.#nextHandle + 1;
    if (this.#handles.has(handle)) return this.#add(file);
    this.#handles.set(handle, file);
    this.#pinned.pin(file.path, file.image);
    this.errors.clear(file.path);
    return handle;
  }

  #get(handle: number): OpenFile {
    const file = this.#handles.get(handle);
    if (file === undefined) throw Object.assign(new Error(`no open file ${handle}`), { code: 'EBADF' });
    return file;
  }

  #signal(): AbortSignal {
    return AbortSignal.timeout(this.#options.deadline);
  }

  /** The image a path shows now: the revision it is open at, else what the registry says. */
  async #image(path: string, place: ImagePlace | Extract<Place, { kind: 'inspect' }>) {
    const pinned = this.#pinned.get(path);
    if (pinned !== undefined) return pinned;
    if (!this.#session.backendNames.includes(place.backend)) return undefined;
    const backend = await this.#session.backend(place.backend);
    return this.#session.view.resolve(backend, place.name, this.#signal());
  }

  async #folder(path: string, backendName: string, collection: string): Promise<Attributes> {
    if (collection === '' || this.#isMade(path)) return folderAttributes(this.#owner);
    const backend = await this.#session.backend(backendName);
    if (!(await this.#session.view.hasCollection(backend, collection, this.#signal()))) throw notFound(path);
    return folderAttributes(this.#owner);
  }

  #isMade(path: string): boolean {
    const below = `${path}/`;
    return [...this.#madeFolders].some((folder) => folder === path || folder.startsWith(below));
  }

  async #listed(backendName: string, collection: string, mayBeAbsent: boolean): Promise<string[]> {
    const backend = await this.#session.backend(backendName);
    try {
      const { entries } = await this.#session.view.list(backend, collection, this.#signal());
      return entries.flatMap((entry) => {
        if (entry.kind === 'collection') return [entry.name];
        return fileNameOf(entry.name, entry.remote?.extension ?? this.#session.extension) ?? [];
      });
    } catch (error) {
      if (mayBeAbsent && isError(error, 'NOT_FOUND')) return [];
      throw error;
    }
  }

  async #openImage(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (backend.localPath !== undefined) return LocalFile.open(path, image, backend.localPath(image));
    const cached = this.#session.openCached(backend, image);
    return new CachedFile(path, image, cached, (open) => this.#session.cache.close(open));
  }

  #stagedHandle(path: string, staged: StagedFile): StagedHandle {
    return new StagedHandle(path, staged, (file) => this.#staging.release(file));
  }

  async #openForUpdate(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    await this.#checkPush(path, backend);
    if (this.#options.noOverwrite || flags & O_EXCL) {
      throw new SregistryError('EXISTS', `${path} exists already`, {
        hint: 'Mounted with --no-overwrite: push it under another tag',
      });
    }
    const copyUp = (to: string) => this.#session.copyTo(backend, image, to);
    const staged = await this.#staging.update(path, { copyUp, size: image.size });
    if (flags & O_TRUNC) await this.#truncateStaged(staged, 0);
    return this.#add(this.#stagedHandle(path, staged));
  }

  async #truncateStaged(staged: StagedFile, size: number): Promise<void> {
    await staged.truncate(size);
    this.#staging.noteChange(staged);
  }

  #checkWritable(path: string): void {
    if (this.#options.readOnly) throw readOnly(path, 'mounted with --read-only');
  }

  async #checkPush(path: string, backend: Backend): Promise<void> {
    if (backend.push !== undefined) return;
    throw readOnly(path, `${backend.name} (${backend.driver}) cannot be pushed to`);
  }

  async #remove(path: string, place: ImagePlace, image: RemoteImage): Promise<void> {
    if (!this.#options.allowDelete) {
      throw new SregistryError('FORBIDDEN', `${path} is not removed from the registry`, {
        hint: 'Mount with --allow-delete, or use sregistry delete',
      });
    }
    const backend = await this.#session.backend(place.backend);
    if (backend.remove === undefined)
      throw new SregistryError('UNSUPPORTED', `${backend.name} (${backend.driver}) cannot remove images`);
    await backend.remove(image, this.#signal());
    this.#noteRemoved(backend, place.name);
  }

  #noteRemoved(backend: Backend, name: ImageName): void {
    this.#session.view.remember(backend, name, undefined);
    this.#session.view.forgetListing(backend, name.collection);
  }

  /** libfuse keeps a removed open file under a hidden name: handles stay good, the registry is told at once. */
  async #hide(from: string, to: string, staged: StagedFile | undefined): Promise<void> {
    const attributes = await this.getattr(from);
    if (staged === undefined) await this.unlink(from);
    else await this.#staging.discard(staged);
    this.#hidden.set(to, attributes);
  }

  async #renameStaged(staged: StagedFile, to: string, target: Place): Promise<void> {
    if (target.kind === 'root' || parentOf(to) === '/') throw crossBackend(staged.path, to);
    await this.#checkPush(to, await this.#session.backend(target.backend));
    if (this.#options.noOverwrite && target.kind === 'image' && (await this.#image(to, target)))
      throw new SregistryError('EXISTS', `${to} exists already`);
    await this.#staging.rename(staged, to);
  }

  /** Within a backend that can copy by itself; the old name is removed, which needs the permission to. */
  async #renameImage(from: string, source: ImagePlace, target: ImagePlace): Promise<void> {
    const image = await this.#image(from, source);
    if (image === undefined) throw notFound(from);
    const backend = await this.#session.backend(source.backend);
    if (!this.#options.allowDelete) {
      throw new SregistryError('FORBIDDEN', `${from} is not renamed: that removes its old name`, {
        hint: 'Mount with --allow-delete, or copy it',
      });
    }
    if (backend.copy === undefined || backend.remove === undefined)
      throw crossBackend(from, fileNameOf(target.name, target.extension) ?? '');
    const copied = await backend.copy(image, target.name, this.#signal());
    this.#session.view.remember(backend, target.name, copied);
    this.#session.view.forgetListing(backend, target.name.collection);
    await this.#remove(from, source, image);
  }

  async #inspectText(backend: Backend, image: RemoteImage): Promise<Buffer> {
    const inspection = await inspectRemote(this.#session, backend, image, this.#signal());
    return Buffer.from(`${JSON.stringify(inspection, null, 2)}\n`);
  }

  async #xattrSubject(path: string) {
    const place = parsePath(path);
    const error = this.errors.get(path);
    if (place?.kind !== 'image' || this.#staging.find(path) !== undefined) {
      const backend = place === undefined || place.kind === 'root' ? undefined : place.backend;
      return { error, backend };
    }
    const backend = await this.#session.backend(place.backend);
    const image = await this.#image(path, place);
    if (image === undefined) throw notFound(path);
    return { error, backend: backend.name, session: this.#session, service: backend, image };
  }
}

const MKDIR_RULE = `a name that ends in ${IMAGE_EXTENSIONS.map((e) => `.${e}`).join(', ')} is an image`;

/** Names that desktops and shells look for everywhere; no registry has them, so none is asked. */
function isForeign(path: string): boolean {
  return baseOf(path).startsWith('.');
}

function stagedStat(staged: StagedFile) {
  return { size: staged.size, modified: new Date(staged.modified), local: staged.size };
}

function notFound(path: string): SregistryError {
  return new SregistryError('NOT_FOUND', `${path} does not exist`);
}

function readOnly(path: string, why: string): SregistryError {
  return new SregistryError('READ_ONLY', `${path} cannot be written: ${why}`);
}

function crossBackend(from: string, to: string): SregistryError {
  return new SregistryError('CROSS_BACKEND', `${from} cannot be renamed to ${to} by the registry itself`);
}
