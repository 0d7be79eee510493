/**
 * The filesystem: what each operation on a path of the mount means, with no FUSE in it. Operations take and give plain
 * values, throw errors (errno.ts turns them into errno), and can be called in any order at any time.
 *
 * A path is, in this order: a file being written (staging.ts), a revision that is open, what the registry says
 * (lookup.ts).
 */
import { constants } from 'node:fs';
import type { Backend } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import type { Session } from '../client/session.ts';
import type { RemoteImage } from '../image/remote.ts';
import {
  type Attributes,
  fileAttributes,
  folderAttributes,
  type Ownership,
  unseenAttributes,
} from './attributes.ts';
import { ErrorNotes } from './error-notes.ts';
import { CachedFile, LocalFile, type OpenFile, StagedHandle, TextFile } from './handles.ts';
import { Lookup, notFound } from './lookup.ts';
import { Naming } from './naming.ts';
import { exists, type PermissionOptions, Permissions, readOnly } from './permissions.ts';
import type { Verify } from './signed.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { baseOf, type ImagePlace, parentOf, parsePath } from './tree.ts';
import { attributeNames, attributeValue } from './xattrs.ts';

export interface FilesystemOptions extends PermissionOptions {
  /** Milliseconds within which an operation that asks a service ends. Pushes end when the service does. */
  readonly deadline: number;
  /** Which images may be read; default: all. Another one's error is what opening it gives. */
  readonly verify?: Verify | undefined;
}

const { O_CREAT, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
/** The bits of open(2)'s flags that say whether it is for reading, writing, or both. */
const O_ACCMODE = 3;

/** libfuse renames a file that is removed while open to this, and removes it when it is closed. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]+$/;

/** fuse-native keeps 32 bits of a handle, and takes 0 for none. */
const MAX_HANDLE = 0x7fff_ffff;

/** Stands for an image of which nobody knows whether it is there. */
const UNSEEN = 'unseen';

export class Filesystem {
  readonly errors = new ErrorNotes();
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #options: FilesystemOptions;
  readonly #lookup: Lookup;
  readonly #permissions: Permissions;
  readonly #naming: Naming;
  readonly #owner: Ownership;
  readonly #handles = new Map<number, OpenFile>();
  /** What removed files looked like that are still open, by their hidden path. */
  readonly #hidden = new Map<string, Attributes>();
  #lastHandle = 0;

  constructor(session: Session, staging: Staging, options: FilesystemOptions) {
    this.#session = session;
    this.#staging = staging;
    this.#options = options;
    this.#lookup = new Lookup(session, options.deadline);
    this.#permissions = new Permissions(options, this.#lookup);
    this.#naming = new Naming(staging, this.#lookup, this.#permissions);
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

  /** A path for each of them, and whether it was opened to a file being written. */
  get openPaths(): { path: string; writing: boolean }[] {
    return [...this.#handles.values()].map(({ path, staged }) => ({ path, writing: staged !== undefined }));
  }

  async getattr(path: string): Promise<Attributes> {
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#stagedAttributes(staged);
    const hidden = this.#hidden.get(path);
    if (hidden !== undefined) return hidden;
    const place = parsePath(path);
    if (place === undefined || isForeign(path)) throw notFound(path);
    if (place.kind === 'root') return folderAttributes(this.#owner);
    if (place.kind === 'folder') {
      if (await this.#lookup.hasFolder(path, place)) return folderAttributes(this.#owner);
      throw notFound(path);
    }
    const backend = await this.#lookup.backend(place.backend);
    if (place.kind === 'image') return this.#imageAttributes(path, place, backend);
    const image = await this.#lookup.existingImage(path, place);
    return this.#textAttributes(await this.#lookup.inspectText(backend, image), image);
  }

  async readdir(path: string): Promise<string[]> {
    const place = parsePath(path);
    if (place?.kind === 'root') return [...this.#session.backendNames];
    if (place?.kind !== 'folder') throw notFound(path);
    const staged = this.#staging.list(path);
    return [...new Set([...staged, ...(await this.#lookup.names(path, place, staged.length > 0))])];
  }

  async open(path: string, flags: number): Promise<number> {
    const writes = (flags & O_ACCMODE) !== O_RDONLY;
    if (writes) this.#permissions.checkWritable(path);
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#openStaged(path, staged, flags);
    const place = parsePath(path);
    if (place?.kind !== 'image' && place?.kind !== 'inspect') throw notFound(path);
    const backend = await this.#lookup.backend(place.backend);
    const image = await this.#lookup.image(path, place).catch((error: unknown) => {
      if (writes && this.#permissions.mayWriteUnseen(backend, error)) return UNSEEN as typeof UNSEEN;
      throw error;
    });
    if (image === UNSEEN || (image === undefined && writes && flags & O_CREAT)) return this.create(path);
    if (image === undefined) throw notFound(path);
    if (place.kind === 'inspect') {
      if (writes) throw readOnly(path, 'it is made from the image beside it');
      return this.#add(new TextFile(path, await this.#lookup.inspectText(backend, image)));
    }
    if (writes) return this.#openForUpdate(path, backend, image, flags);
    return this.#add(await this.#openImage(path, backend, image));
  }

  async create(path: string): Promise<number> {
    this.#permissions.checkWritable(path);
    const place = parsePath(path);
    if (place === undefined || place.kind === 'root' || parentOf(path) === '/')
      throw new SregistryError('FORBIDDEN', `${path} cannot be created: files live in a registry's folder`);
    await this.#permissions.checkPush(path, place.backend);
    return this.#add(this.#stagedHandle(path, await this.#staging.create(path)));
  }

  async read(handle: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    return this.#get(handle).read(target, offset, length, () => this.#lookup.signal());
  }

  async write(handle: number, source: Uint8Array, offset: number, length: number): Promise<number> {
    const staged = this.#stagedOf(handle);
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
    this.#lookup.pinned.unpin(file.path, file.image);
    await file.close();
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    await this.#truncateStaged(this.#stagedOf(handle), size);
  }

  async truncate(path: string, size: number): Promise<void> {
    const handle = await this.open(path, O_WRONLY);
    try {
      await this.ftruncate(handle, size);
    } finally {
      await this.release(handle);
    }
  }

  async unlink(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
    if (!this.#hidden.delete(path)) await this.#naming.unlink(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#permissions.checkWritable(from);
    if (HIDDEN.test(baseOf(to))) await this.#hide(from, to);
    else await this.#naming.rename(from, to);
  }

  async mkdir(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
    await this.#naming.mkdir(path);
  }

  async rmdir(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
    await this.#naming.rmdir(path);
  }

  /** Attributes that registries do not keep (mode, owner, times) are accepted and not kept, so that copies succeed. */
  async setAttributes(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
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

  /** Bytes the cache may hold and has left, as the size and free space of the filesystem. */
  statfs(): { size: number; free: number } {
    const { bytes, limit } = this.#session.cache;
    return { size: limit, free: Math.max(0, limit - bytes) };
  }

  /** Closes every handle, as when the mount ends. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#handles.keys()].map((handle) => this.release(handle)));
  }

  #stagedAttributes({ size, modified }: StagedFile): Attributes {
    return fileAttributes(this.#owner, { size, modified: new Date(modified), local: size });
  }

  async #imageAttributes(path: string, place: ImagePlace, backend: Backend): Promise<Attributes> {
    try {
      const image = await this.#lookup.existingImage(path, place);
      const { size, modified, unpresentable } = image;
      const local = this.#session.cachedBytes(backend, image);
      return fileAttributes(this.#owner, { size, modified, local, closed: unpresentable !== undefined });
    } catch (error) {
      if (!this.#permissions.mayWriteUnseen(backend, error)) throw error;
      return unseenAttributes(this.#owner);
    }
  }

  #textAttributes(text: Buffer, { modified }: RemoteImage): Attributes {
    return fileAttributes(this.#owner, { size: text.length, modified });
  }

  #add(file: OpenFile): number {
    do this.#lastHandle = this.#lastHandle === MAX_HANDLE ? 1 : this.#lastHandle + 1;
    while (this.#handles.has(this.#lastHandle));
    this.#handles.set(this.#lastHandle, file);
    this.#lookup.pinned.pin(file.path, file.image);
    this.errors.clear(file.path);
    return this.#lastHandle;
  }

  #get(handle: number): OpenFile {
    const file = this.#handles.get(handle);
    if (file === undefined) throw Object.assign(new Error(`no open file ${handle}`), { code: 'EBADF' });
    return file;
  }

  #stagedOf(handle: number): StagedFile {
    const { staged, path } = this.#get(handle);
    if (staged === undefined) throw readOnly(path, 'it was opened for reading');
    return staged;
  }

  #stagedHandle(path: string, staged: StagedFile): StagedHandle {
    return new StagedHandle(path, staged, (file) => this.#staging.release(file));
  }

  async #openStaged(path: string, staged: StagedFile, flags: number): Promise<number> {
    const file = this.#stagedHandle(path, staged);
    const handle = this.#add((flags & O_ACCMODE) === O_RDONLY ? await this.#admit(file) : file);
    if (flags & O_TRUNC) await this.#truncateStaged(staged, 0);
    return handle;
  }

  async #openImage(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (image.unpresentable !== undefined)
      throw new SregistryError('NOT_PRESENTABLE', `${path}: ${image.unpresentable}`);
    if (backend.localPath !== undefined)
      return this.#admit(await LocalFile.open(path, image, backend.localPath(image)));
    const cached = this.#session.openCached(backend, image);
    return this.#admit(new CachedFile(path, image, cached, (open) => this.#session.cache.close(open)));
  }

  /** The file, if it may be read; else it is closed. */
  async #admit<F extends OpenFile>(file: F): Promise<F> {
    try {
      await this.#options.verify?.(file, () => this.#lookup.signal());
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #openForUpdate(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    await this.#permissions.checkPush(path, backend.name);
    if (this.#permissions.keepsExisting || flags & O_EXCL) throw exists(path);
    const copyUp = async (to: string) => {
      if (this.#options.verify !== undefined) await (await this.#openImage(path, backend, image)).close();
      await this.#session.copyTo(backend, image, to);
    };
    const staged = await this.#staging.update(path, { copyUp, size: image.size });
    return this.#openStaged(path, staged, flags);
  }

  async #truncateStaged(staged: StagedFile, size: number): Promise<void> {
    await staged.truncate(size);
    this.#staging.noteChange(staged);
  }

  /** libfuse keeps a removed open file under a hidden name: handles stay good, the registry is told at once. */
  async #hide(from: string, to: string): Promise<void> {
    const attributes = await this.getattr(from);
    await this.#naming.unlink(from);
    this.#hidden.set(to, attributes);
  }

  async #xattrSubject(path: string) {
    const place = parsePath(path);
    const error = this.errors.get(path);
    // What was pushed is the registry's, also while its writer has yet to let go of it.
    if (place?.kind !== 'image' || this.#staging.find(path)?.isPushed === false) {
      const backend = place === undefined || place.kind === 'root' ? undefined : place.backend;
      return { error, backend };
    }
    const service = await this.#lookup.backend(place.backend);
    const image = await this.#lookup.existingImage(path, place);
    return { error, backend: service.name, session: this.#session, service, image };
  }
}

/** Names that desktops and shells look for everywhere; no registry has them, so none is asked. */
function isForeign(path: string): boolean {
  return baseOf(path).startsWith('.');
}
