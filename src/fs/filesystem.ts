/**
 * The filesystem: what each operation on a path of the mount means, with no FUSE in it. Operations take and give plain
 * values, throw errors (errno.ts turns them into errno), and can be called in any order at any time.
 *
 * A path is, in this order: a file being written (staging.ts), a revision that is open, what the registry says
 * (lookup.ts). Readers and writers of one image, whatever the spelling of its name:
 *
 * - opening for writing what is open for reading is refused (IN_USE), as for any program that is being run;
 * - opening for reading what is being written shows the file as it is so far;
 * - a rename over what is open replaces the name, and the readers keep their revision (removals.ts);
 * - what was changed in the registry by others is seen by the next open after the last close.
 *
 * An operation decides which of these holds, and enters itself as reader or writer, in one step after the last question to
 * a service was answered: whoever came first meanwhile counts. Each operation has one deadline; pushes end when the
 * service does.
 */
import { constants } from 'node:fs';
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import type { Session } from '../client/session.ts';
import type { RemoteImage } from '../image/remote.ts';
import {
  type Attributes,
  fileAttributes,
  folderAttributes,
  type Ownership,
  unseenAttributes,
} from './attributes.ts';
import { CachedFile, LocalFile, type OpenFile, StagedHandle, TextFile } from './handles.ts';
import type { OpenPath } from './in-use.ts';
import { LastErrors } from './last-errors.ts';
import { Lookup, notFound } from './lookup.ts';
import { Naming } from './naming.ts';
import type { RevisionReference } from './open-revisions.ts';
import { exists, type PermissionOptions, Permissions, readOnly } from './permissions.ts';
import { Removals } from './removals.ts';
import type { Verify } from './signed.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { inUse } from './staging-errors.ts';
import { baseOf, type ImagePath, keyOf, parentOf, parsePath } from './tree.ts';
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

/** Bytes of the longest file name (NAME_MAX of Linux's file systems). */
const NAME_MAX = 255;

/** libfuse renames a file that is removed or replaced while open to this, and removes it when it is closed. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]+$/;

/** fuse-native keeps 32 bits of a handle, and takes 0 for none. */
const MAX_HANDLE = 0x7fff_ffff;

/** Stands for an image of which nobody knows whether it is there. */
const UNSEEN = 'unseen';

interface Handle {
  readonly file: OpenFile;
  readonly reference: RevisionReference | undefined;
  /** What it is called now: it follows renames, as it does in the kernel. */
  path: string;
}

export class Filesystem {
  readonly errors = new LastErrors();
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #options: FilesystemOptions;
  readonly #lookup: Lookup;
  readonly #permissions: Permissions;
  readonly #removals: Removals;
  readonly #naming: Naming;
  readonly #owner: Ownership;
  readonly #handles = new Map<number, Handle>();
  /** What was removed or replaced while open, by its hidden path: a file being written, or what the image looked like. */
  readonly #hidden = new Map<string, StagedFile | Attributes>();
  #lastHandle = 0;

  constructor(session: Session, staging: Staging, options: FilesystemOptions) {
    this.#session = session;
    this.#staging = staging;
    this.#options = options;
    this.#removals = new Removals((path, error) => this.errors.note(path, error));
    this.#lookup = new Lookup(session, options.deadline, (key) => this.#removals.has(key));
    this.#permissions = new Permissions(options, this.#lookup);
    this.#naming = new Naming(staging, this.#lookup, this.#permissions, this.#removals);
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

  /** A path for each of them, and whether it was opened for writing. */
  get openPaths(): OpenPath[] {
    return [...this.#handles.values()].map(({ file, path }) => ({
      path: HIDDEN.test(baseOf(path)) ? file.path : path,
      writing: file.writes === true,
    }));
  }

  async getattr(path: string): Promise<Attributes> {
    checkLength(path);
    await this.#removals.settled(keyOf(path));
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#stagedAttributes(path, staged);
    const hidden = this.#hidden.get(path);
    if (hidden !== undefined) return 'handles' in hidden ? this.#stagedAttributes(path, hidden) : hidden;
    const parsed = parsePath(path);
    if (parsed === undefined || isForeign(path)) throw notFound(path);
    if (parsed.kind === 'root') return folderAttributes(this.#owner);
    const signal = this.#lookup.signal();
    if (parsed.kind === 'folder') {
      if (await this.#lookup.hasFolder(path, parsed, signal)) return folderAttributes(this.#owner);
      throw notFound(path);
    }
    const backend = await this.#lookup.backend(parsed.backend);
    if (parsed.kind === 'image') return this.#imageAttributes(path, parsed, backend, signal);
    const image = await this.#lookup.existingImage(path, parsed, signal);
    return this.#textAttributes(await this.#lookup.inspectText(backend, image, signal), image);
  }

  async readdir(path: string): Promise<string[]> {
    const parsed = parsePath(path);
    if (parsed?.kind === 'root') return [...this.#session.backendNames];
    if (parsed?.kind !== 'folder') throw notFound(path);
    const staged = this.#staging.list(path);
    const names = await this.#lookup.names(path, parsed, staged.length > 0, this.#lookup.signal());
    return [...new Set([...staged, ...names])];
  }

  async open(path: string, flags: number): Promise<number> {
    checkLength(path);
    const writes = (flags & O_ACCMODE) !== O_RDONLY;
    if (writes) this.#permissions.checkWritable(path);
    await this.#settled(path);
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#openStaged(path, staged, flags);
    const parsed = parsePath(path);
    if (parsed?.kind !== 'image' && parsed?.kind !== 'inspect') throw notFound(path);
    const signal = this.#lookup.signal();
    const backend = await this.#lookup.backend(parsed.backend);
    const image = await this.#lookup.imageToOpen(parsed, signal).catch((error: unknown) => {
      if (writes && this.#permissions.mayWriteUnseen(backend, error)) return UNSEEN as typeof UNSEEN;
      throw error;
    });
    if (parsed.kind === 'inspect') {
      if (image === UNSEEN || image === undefined) throw notFound(path);
      if (writes) throw readOnly(path, 'it is made from the image beside it');
      return this.#add(new TextFile(path, await this.#lookup.inspectText(backend, image, signal)));
    }
    if (image === UNSEEN || (image === undefined && writes && flags & O_CREAT)) return this.create(path);
    if (image === undefined) throw notFound(path);
    if (writes) return this.#openForUpdate(path, backend, image, flags);
    return this.#openForReading(path, backend, image, flags);
  }

  async create(path: string): Promise<number> {
    checkLength(path);
    this.#permissions.checkWritable(path);
    const parsed = parsePath(path);
    if (parsed === undefined || parsed.kind === 'root' || parentOf(path) === '/')
      throw new SregistryError('FORBIDDEN', `${path} cannot be created: files live in a registry's folder`);
    await this.#permissions.checkPush(path, parsed.backend);
    await this.#settled(path);
    if (parsed.kind === 'image' && this.#permissions.keepsExisting) {
      if (await this.#lookup.image(parsed, this.#lookup.signal())) throw exists(path);
    }
    const staged = this.#staging.find(path);
    if (staged !== undefined) return this.#openStaged(path, staged, O_WRONLY | O_TRUNC);
    this.#checkUnread(path);
    return this.#add(this.#stagedHandle(path, this.#staging.create(path), true));
  }

  async read(handle: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    return this.#get(handle).read(target, offset, length, () => this.#lookup.signal());
  }

  async write(handle: number, source: Uint8Array, offset: number, length: number): Promise<number> {
    await this.#staging.write(this.#stagedOf(handle), source, offset, length);
    return length;
  }

  /** What a writer's `close()` returns: for a whole image, the outcome of its push. */
  async flush(handle: number): Promise<void> {
    const { staged, writes } = this.#get(handle);
    if (staged !== undefined && writes) await this.#staging.flush(staged);
  }

  async fsync(handle: number): Promise<void> {
    const { staged, writes } = this.#get(handle);
    if (staged !== undefined && writes) await this.#staging.sync(staged);
  }

  async release(handle: number): Promise<void> {
    const { file, reference } = this.#entry(handle);
    this.#handles.delete(handle);
    reference?.release();
    await file.close();
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    await this.#staging.truncate(this.#stagedOf(handle), size);
  }

  async truncate(path: string, size: number): Promise<void> {
    const handle = await this.open(path, O_WRONLY);
    try {
      await this.ftruncate(handle, size);
      await this.flush(handle);
    } finally {
      await this.release(handle);
    }
  }

  async unlink(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
    if (!this.#hidden.delete(path)) await this.#naming.unlink(path, this.#lookup.signal());
  }

  async rename(from: string, to: string): Promise<void> {
    checkLength(to);
    this.#permissions.checkWritable(from);
    if (HIDDEN.test(baseOf(to)) && this.#mayBeOpen(from)) await this.#hide(from, to);
    else await this.#naming.rename(from, to, this.#lookup.signal());
    for (const handle of this.#handles.values()) if (handle.path === from) handle.path = to;
    this.#lookup.showOther(to);
  }

  async mkdir(path: string): Promise<void> {
    checkLength(path);
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
    return attributeNames(await this.#xattrTarget(path));
  }

  /** The value, or undefined where the path has no such attribute. */
  async getxattr(path: string, name: string): Promise<Buffer | undefined> {
    if (!name.startsWith('user.sregistry.')) return undefined;
    const value = await attributeValue(await this.#xattrTarget(path), name);
    return value === undefined ? undefined : Buffer.from(value);
  }

  /** Bytes the cache may hold and has left, as the size and free space of the filesystem. */
  statfs(): { size: number; free: number } {
    const { bytes, limit } = this.#session.cache;
    return { size: limit, free: Math.max(0, limit - bytes) };
  }

  /** Resolves when every removal that was promised is carried out. */
  async idle(): Promise<void> {
    await this.#removals.finishAll();
  }

  /** Carries out what was promised and closes every handle, as when the mount ends. */
  async close(): Promise<void> {
    await this.idle();
    await Promise.allSettled([...this.#handles.keys()].map((handle) => this.release(handle)));
  }

  /** Resolves when it is known what the path stands for, and the bytes of what was pushed there are in the cache. */
  async #settled(path: string): Promise<void> {
    await this.#removals.settled(keyOf(path));
    await this.#staging.settled(path);
  }

  #stagedAttributes(path: string, { size, modified, isInRegistry }: StagedFile): Attributes {
    this.#lookup.showOther(path);
    const access = isInRegistry ? undefined : 'owner';
    return fileAttributes(this.#owner, { size, modified: new Date(modified), local: size, access });
  }

  async #imageAttributes(
    path: string,
    parsed: ImagePath,
    backend: Backend,
    signal: AbortSignal,
  ): Promise<Attributes> {
    try {
      const image = await this.#lookup.shownImage(path, parsed, signal);
      const { size, modified, unpresentable } = image;
      const local = this.#session.cachedBytes(backend, image);
      const access = unpresentable === undefined ? undefined : 'nobody';
      return fileAttributes(this.#owner, { size, modified, local, access });
    } catch (error) {
      if (!this.#permissions.mayWriteUnseen(backend, error)) throw error;
      return unseenAttributes(this.#owner);
    }
  }

  #textAttributes(text: Buffer, { modified }: RemoteImage): Attributes {
    return fileAttributes(this.#owner, { size: text.length, modified });
  }

  #add(file: OpenFile, reference?: RevisionReference): number {
    do this.#lastHandle = this.#lastHandle === MAX_HANDLE ? 1 : this.#lastHandle + 1;
    while (this.#handles.has(this.#lastHandle));
    this.#handles.set(this.#lastHandle, { file, reference, path: file.path });
    this.errors.clear(file.path);
    return this.#lastHandle;
  }

  #entry(handle: number): Handle {
    const entry = this.#handles.get(handle);
    if (entry === undefined) throw Object.assign(new Error(`no open file ${handle}`), { code: 'EBADF' });
    return entry;
  }

  #get(handle: number): OpenFile {
    return this.#entry(handle).file;
  }

  #stagedOf(handle: number): StagedFile {
    const { staged, writes, path } = this.#get(handle);
    if (staged === undefined || !writes) throw readOnly(path, 'it was opened for reading');
    return staged;
  }

  #stagedHandle(path: string, staged: StagedFile, writes: boolean): StagedHandle {
    this.#lookup.showOther(path);
    return new StagedHandle(path, staged, this.#staging, writes);
  }

  async #openStaged(path: string, staged: StagedFile, flags: number): Promise<number> {
    if (flags & O_CREAT && flags & O_EXCL) throw exists(path);
    const writes = (flags & O_ACCMODE) !== O_RDONLY;
    if (writes && staged.isInRegistry && staged.publishedReaders > 0) throw inUse(path);
    if (!writes && this.#options.verify !== undefined && !staged.isInRegistry) throw beingWritten(path);
    const file = this.#stagedHandle(path, staged, writes);
    try {
      if (writes && this.#permissions.keepsExisting && staged.isInRegistry) throw exists(path);
      if (!writes) await this.#options.verify?.(file, () => this.#lookup.signal());
      if (writes && flags & O_TRUNC) await this.#staging.truncate(staged, 0);
    } catch (error) {
      await file.close();
      throw error;
    }
    return this.#add(file);
  }

  /** Enters the reader before anything else is waited for, so that it stays with the revision it was given. */
  async #openForReading(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    const written = this.#staging.find(path);
    if (written !== undefined) return this.#openStaged(path, written, flags);
    const reference = this.#lookup.openRevisions.acquire(keyOf(path), image, path);
    try {
      return this.#add(await this.#openImage(path, backend, reference.image), reference);
    } catch (error) {
      reference.release();
      throw error;
    }
  }

  /** An image that may be read; else its error. */
  async #openImage(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (image.unpresentable !== undefined)
      throw new SregistryError('NOT_PRESENTABLE', `${path}: ${image.unpresentable}`);
    const file = await this.#openBytes(path, backend, image);
    try {
      await this.#options.verify?.(file, () => this.#lookup.signal());
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #openBytes(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (backend.openLocal !== undefined) return new LocalFile(path, image, await backend.openLocal(image));
    const cached = this.#session.openCached(backend, image);
    return new CachedFile(path, image, cached, (open) => this.#session.cache.close(open));
  }

  async #openForUpdate(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    await this.#permissions.checkPush(path, backend.name);
    if (this.#permissions.keepsExisting || flags & O_EXCL) throw exists(path);
    const written = this.#staging.find(path);
    if (written !== undefined) return this.#openStaged(path, written, flags);
    this.#checkUnread(path);
    const copyUp = async (to: string) => {
      await this.#checkCurrent(path, backend, image);
      if (this.#options.verify !== undefined) await (await this.#openImage(path, backend, image)).close();
      await this.#session.copyTo(backend, image, to);
    };
    return this.#openStaged(path, this.#staging.update(path, { copyUp, size: image.size }), flags);
  }

  /**
   * STALE where the registry has another revision by now: what is known of a service that cannot be reached may be old, and an
   * update of it would undo what others pushed since.
   */
  async #checkCurrent(path: string, backend: Backend, { name, revision }: RemoteImage): Promise<void> {
    const current = await backend.resolve(name, this.#lookup.signal());
    if (current?.revision === revision) return;
    this.#lookup.noteChange(backend, name, current);
    throw new SregistryError('STALE', `${path} was changed in its registry since it was opened`, {
      hint: 'Open it again',
    });
  }

  /** IN_USE where an image is open for reading. */
  #checkUnread(path: string): void {
    if (this.#lookup.openRevisions.get(keyOf(path)) !== undefined) throw inUse(path);
  }

  /** Does libfuse count a path as open? Handles may have it whose file has another path by now. */
  #mayBeOpen(path: string): boolean {
    if (this.#staging.find(path)?.handles !== 0) return true;
    return [...this.#handles.values()].some((handle) => handle.path === path);
  }

  /** libfuse keeps a removed or replaced open file under a hidden name: its handles stay good. */
  async #hide(from: string, to: string): Promise<void> {
    const staged = this.#staging.find(from);
    const attributes = await this.getattr(from).catch((error: unknown) => {
      // Opened under this spelling, and removed or renamed under another: there is nothing to hide.
      if (isError(error, 'NOT_FOUND')) return undefined;
      throw error;
    });
    if (attributes !== undefined) await this.#naming.hide(from, this.#lookup.signal());
    this.#hidden.set(to, staged ?? attributes ?? unseenAttributes(this.#owner));
  }

  async #xattrTarget(path: string) {
    const parsed = parsePath(path);
    const error = this.errors.get(path);
    if (parsed?.kind !== 'image' || this.#staging.find(path)?.isInRegistry === false) {
      const backend = parsed === undefined || parsed.kind === 'root' ? undefined : parsed.backend;
      return { error, backend };
    }
    const signal = this.#lookup.signal();
    const service = await this.#lookup.backend(parsed.backend);
    const image = await this.#lookup.existingImage(path, parsed, signal);
    return { error, backend: service.name, session: this.#session, signal, service, image };
  }
}

/** Names that desktops and shells look for everywhere; no registry has them, so none is asked. */
function isForeign(path: string): boolean {
  return baseOf(path).startsWith('.');
}

/** With --require-signed: bytes that can still change cannot be vouched for. */
function beingWritten(path: string): SregistryError {
  return new SregistryError('NOT_SIGNED', `${path} may not be read: it is being written`);
}

/** NAME_TOO_LONG where a part of a path is longer than a file name can be. */
function checkLength(path: string): void {
  if (path.length <= NAME_MAX || path.split('/').every((part) => Buffer.byteLength(part) <= NAME_MAX)) return;
  throw new SregistryError('NAME_TOO_LONG', `A part of ${path} is longer than ${NAME_MAX} bytes`);
}
