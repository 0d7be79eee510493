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
 * - the next open after the last close shows what others changed in the registry.
 *
 * opening.ts decides which of these holds. Each operation has one deadline; pushes end when the service does.
 */
import { constants } from 'node:fs';
import type { Backend } from '../backends/backend.ts';
import { isError } from '../base/errors.ts';
import type { Session } from '../client/session.ts';
import type { RemoteImage } from '../image/remote.ts';
import {
  type Attributes,
  fileAttributes,
  folderAttributes,
  type Ownership,
  unseenAttributes,
} from './attributes.ts';
import { Folders } from './folders.ts';
import { imageFacts, textFacts } from './handles.ts';
import type { OpenPath } from './in-use.ts';
import { LastErrors } from './last-errors.ts';
import { Lookup, notFound } from './lookup.ts';
import { Naming } from './naming.ts';
import { OpenFiles } from './open-files.ts';
import { Opening } from './opening.ts';
import { type PermissionOptions, Permissions } from './permissions.ts';
import { Removals } from './removals.ts';
import type { Verify } from './signed.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { baseOf, checkLength, type ImagePath, keyOf, parsePath } from './tree.ts';
import { attributeNames, attributeValue, isOwnAttribute } from './xattrs.ts';

export interface FilesystemOptions extends PermissionOptions {
  /** Milliseconds within which an operation that asks a service ends. Pushes end when the service does. */
  readonly deadline: number;
  /** Throws for an image that may not be read; opening the image then gives that error. Default: all may be read. */
  readonly verify?: Verify | undefined;
}

/** libfuse renames a file that is removed or replaced while open to this, and removes it when it is closed. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]+$/;

export class Filesystem {
  readonly errors = new LastErrors();
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #lookup: Lookup;
  readonly #folders: Folders;
  readonly #permissions: Permissions;
  readonly #removals: Removals;
  readonly #naming: Naming;
  readonly #owner: Ownership;
  readonly #files = new OpenFiles();
  readonly #opening: Opening;
  /** What was removed or replaced while open, by its hidden path: a file being written, or what the image looked like. */
  readonly #hidden = new Map<string, StagedFile | Attributes>();

  constructor(session: Session, staging: Staging, options: FilesystemOptions) {
    this.#session = session;
    this.#staging = staging;
    this.#removals = new Removals((path, error) => this.errors.note(path, error));
    this.#lookup = new Lookup(session, options.deadline, this.#removals);
    this.#folders = new Folders(this.#lookup, staging);
    this.#permissions = new Permissions(options, this.#lookup);
    this.#naming = new Naming(staging, this.#lookup, this.#permissions, this.#removals);
    this.#opening = new Opening(this.#files, {
      session,
      staging,
      lookup: this.#lookup,
      permissions: this.#permissions,
      removals: this.#removals,
      errors: this.errors,
      verify: options.verify,
    });
    this.#owner = {
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      writable: !options.readOnly,
      since: new Date(),
    };
  }

  /** Number of open handles. */
  get openFiles(): number {
    return this.#files.count;
  }

  /** The path of each open handle, and whether it was opened for writing. */
  get openPaths(): OpenPath[] {
    return this.#files.paths.map(({ path, openedAs, writing }) => ({
      path: HIDDEN.test(baseOf(path)) ? openedAs : path,
      writing,
    }));
  }

  /**
   * {@link getattr} of an image that a listing has just told, as in `ls -l`: at once, without a wait or a question. Undefined for
   * anything else.
   */
  listedAttributes(path: string): Attributes | undefined {
    const parsed = parsePath(path);
    if (parsed?.kind !== 'image' || this.#staging.find(path) !== undefined) return undefined;
    const listed = this.#lookup.listedImage(parsed);
    return listed && this.#attributesOf(listed.backend, listed.image);
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
      const isThere = this.#staging.hasBelow(path) || (await this.#lookup.hasFolder(path, parsed, signal));
      if (isThere) return folderAttributes(this.#owner);
      throw notFound(path);
    }
    const backend = await this.#lookup.backend(parsed.backend);
    if (parsed.kind === 'image') return this.#imageAttributes(path, parsed, backend, signal);
    const image = await this.#lookup.existingImage(path, parsed, signal);
    const text = await this.#lookup.inspectText(backend, image, signal);
    return fileAttributes(this.#owner, textFacts(text, image));
  }

  /** Throws what reading the folder throws. The next {@link readdir} returns what was read for that. */
  opendir(path: string): Promise<void> {
    return this.#folders.open(path);
  }

  readdir(path: string): Promise<string[]> {
    return this.#folders.read(path);
  }

  /**
   * Which of the names in a folder are files; the others are folders. Programs that walk through folders, such as find(1), then need not
   * look at each entry.
   */
  filesIn(path: string): (name: string) => boolean {
    return this.#folders.filesIn(path);
  }

  /** The attributes of an open file, whatever its path shows by now. */
  async fgetattr(path: string, handle: number): Promise<Attributes> {
    const { staged, facts } = this.#files.get(handle);
    if (staged !== undefined) return this.#stagedAttributes(path, staged);
    return facts === undefined ? this.getattr(path) : fileAttributes(this.#owner, facts);
  }

  open(path: string, flags: number): Promise<number> {
    return this.#opening.open(path, flags);
  }

  create(path: string): Promise<number> {
    return this.#opening.create(path);
  }

  async read(handle: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    return this.#files.get(handle).read(target, offset, length, () => this.#lookup.signal());
  }

  /** As `readKnown` of the open file; false for a file that does not have it, and for a handle that does not exist. */
  readKnown(
    handle: number,
    target: Uint8Array,
    offset: number,
    length: number,
    done: (count: number | undefined) => void,
  ): boolean {
    return this.#files.find(handle)?.readKnown?.(target, offset, length, done) ?? false;
  }

  async write(handle: number, source: Uint8Array, offset: number, length: number): Promise<number> {
    await this.#staging.write(this.#files.staged(handle), source, offset, length);
    return length;
  }

  /** What a writer's `close()` returns: for a whole image, the outcome of its push. */
  async flush(handle: number): Promise<void> {
    const { staged, writes } = this.#files.get(handle);
    if (staged !== undefined && writes) await this.#staging.flush(staged);
  }

  async fsync(handle: number): Promise<void> {
    const { staged, writes } = this.#files.get(handle);
    if (staged !== undefined && writes) await this.#staging.sync(staged);
  }

  async release(handle: number): Promise<void> {
    await this.#files.release(handle);
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    await this.#staging.truncate(this.#files.staged(handle), size);
  }

  async truncate(path: string, size: number): Promise<void> {
    const handle = await this.open(path, constants.O_WRONLY);
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
    this.#files.rename(from, to);
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

  /** Accepts attributes that registries do not keep (mode, owner, times) and ignores them, so that copies succeed. */
  async setAttributes(path: string): Promise<void> {
    this.#permissions.checkWritable(path);
    await this.getattr(path);
  }

  async listxattr(path: string): Promise<string[]> {
    return attributeNames(await this.#xattrTarget(path));
  }

  /** The value, or undefined if the path has no such attribute. */
  async getxattr(path: string, name: string): Promise<Buffer | undefined> {
    if (!isOwnAttribute(name)) return undefined;
    const value = await attributeValue(await this.#xattrTarget(path), name);
    return value === undefined ? undefined : Buffer.from(value);
  }

  /** The cache's limit and free room in bytes, as the size and free space of the filesystem. */
  statfs(): { size: number; free: number } {
    const { bytes, limit } = this.#session.cache;
    return { size: limit, free: Math.max(0, limit - bytes) };
  }

  /** Resolves when all pending removals are carried out. */
  async idle(): Promise<void> {
    await this.#removals.finishAll();
  }

  /** Carries out pending removals and closes every handle, as when the mount ends. */
  async close(): Promise<void> {
    await this.idle();
    await this.#files.releaseAll();
  }

  #stagedAttributes(path: string, { shown, modified, isInRegistry, isUnseen }: StagedFile): Attributes {
    this.#lookup.showOther(path);
    if (isUnseen) return unseenAttributes(this.#owner);
    const access = isInRegistry ? undefined : 'owner';
    return fileAttributes(this.#owner, { ...shown, modified: new Date(modified), local: shown.size, access });
  }

  async #imageAttributes(
    path: string,
    parsed: ImagePath,
    backend: Backend,
    signal: AbortSignal,
  ): Promise<Attributes> {
    try {
      return this.#attributesOf(backend, await this.#lookup.shownImage(path, parsed, signal));
    } catch (error) {
      if (!this.#permissions.mayWriteUnseen(backend, error)) throw error;
      return unseenAttributes(this.#owner);
    }
  }

  #attributesOf(backend: Backend, image: RemoteImage): Attributes {
    return fileAttributes(this.#owner, imageFacts(image, this.#session.cachedBytes(backend, image)));
  }

  /** Does libfuse count a path as open? A handle may have this path although its file has another one by now. */
  #mayBeOpen(path: string): boolean {
    if (this.#staging.find(path)?.handles !== 0) return true;
    return this.#files.has(path);
  }

  /** libfuse keeps a removed or replaced open file under a hidden name, so its handles stay valid. */
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

/** Names that desktops and shells look for everywhere. No registry has them, so none is asked. */
function isForeign(path: string): boolean {
  return baseOf(path).startsWith('.');
}
