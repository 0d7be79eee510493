/**
 * Opens files, for reading, for writing or for both: decides what a path stands for.
 *
 * A path is, in this order: a file being written, a revision that is open, what the registry says. After the last answer of a
 * service, one step decides which of these holds and acquires the file or the revision. So an operation that finished meanwhile
 * wins.
 */
import { constants } from 'node:fs';
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import { isLayered, type LayeredImage, NEVER_SIGNED } from '../client/layered-images.ts';
import type { Session } from '../client/session.ts';
import type { RemoteImage } from '../image/remote.ts';
import { UNSEEN_FILE } from './attributes.ts';
import {
  CachedFile,
  imageFacts,
  LayeredFile,
  LocalFile,
  type OpenFile,
  StagedHandle,
  TextFile,
} from './handles.ts';
import type { LastErrors } from './last-errors.ts';
import { type Lookup, notFound, type OfImage } from './lookup.ts';
import type { OpenFiles } from './open-files.ts';
import type { RevisionReference } from './open-revisions.ts';
import { exists, type Permissions, readOnly } from './permissions.ts';
import type { Removals } from './removals.ts';
import type { Verify } from './signed.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';
import { inUse } from './staging-errors.ts';
import { checkLength, keyOf, parentOf, parsePath } from './tree.ts';

const { O_CREAT, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
/** The bits of open(2)'s flags that say whether it is for reading, writing, or both. */
const O_ACCMODE = 3;

/** Stands in for an image that may or may not exist. */
const UNSEEN = 'unseen';

export interface OpeningOptions {
  readonly session: Session;
  readonly staging: Staging;
  readonly lookup: Lookup;
  readonly permissions: Permissions;
  readonly removals: Removals;
  readonly errors: LastErrors;
  /** Which images may be read; default: all. */
  readonly verify: Verify | undefined;
}

export class Opening {
  readonly #files: OpenFiles;
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #lookup: Lookup;
  readonly #permissions: Permissions;
  readonly #removals: Removals;
  readonly #errors: LastErrors;
  readonly #verify: Verify | undefined;

  constructor(files: OpenFiles, options: OpeningOptions) {
    this.#files = files;
    this.#session = options.session;
    this.#staging = options.staging;
    this.#lookup = options.lookup;
    this.#permissions = options.permissions;
    this.#removals = options.removals;
    this.#errors = options.errors;
    this.#verify = options.verify;
  }

  /** A handle on what is at a path; `flags` as open(2) has them. */
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
      if (writes) throw readOnly(path, 'it is generated from the image beside it');
      return this.#add(new TextFile(path, await this.#lookup.inspectText(backend, image, signal), image));
    }
    if (image === UNSEEN) return this.#openUnseen(path, backend, parsed, flags);
    if (image === undefined && writes && flags & O_CREAT) return this.create(path);
    if (image === undefined) throw notFound(path);
    if (writes) return this.#openForUpdate(path, backend, image, flags);
    return this.#openForReading(path, backend, image, flags).catch(async (error: unknown) => {
      const current = await this.#afterStale(error, path, parsed, image, signal);
      return this.#openForReading(path, backend, current, flags);
    });
  }

  /**
   * The image to open after `error`: the revision that has replaced a STALE one. Rethrows any other error, and STALE if nothing
   * has replaced it.
   */
  async #afterStale(
    error: unknown,
    path: string,
    parsed: OfImage,
    stale: RemoteImage,
    signal: AbortSignal,
  ): Promise<RemoteImage> {
    if (!isError(error, 'STALE')) throw error;
    this.#lookup.showOther(path);
    const current = await this.#lookup.image(parsed, signal);
    if (current === undefined || current.revision === stale.revision) throw error;
    return current;
  }

  /** A handle on a new file, or on the file being written at the path, which is emptied. */
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

  /** Resolves when no removal of the path is pending, and the cache has the bytes that were pushed there. */
  async #settled(path: string): Promise<void> {
    await this.#removals.settled(keyOf(path));
    await this.#staging.settled(path);
  }

  #stagedHandle(path: string, staged: StagedFile, writes: boolean): StagedHandle {
    this.#lookup.showOther(path);
    return new StagedHandle(path, staged, this.#staging, writes);
  }

  async #openStaged(path: string, staged: StagedFile, flags: number): Promise<number> {
    if (flags & O_CREAT && flags & O_EXCL) throw exists(path);
    const writes = (flags & O_ACCMODE) !== O_RDONLY;
    if (!writes && staged.isUnseen) throw unseen(path);
    if (writes && staged.isInRegistry && staged.publishedReaders > 0) throw inUse(path);
    if (!writes && this.#verify !== undefined && !staged.isInRegistry) throw beingWritten(path);
    const file = this.#stagedHandle(path, staged, writes);
    try {
      if (writes && this.#permissions.keepsExisting && staged.isInRegistry) throw exists(path);
      if (!writes) await this.#verify?.(file, () => this.#lookup.signal());
      if (writes && flags & O_TRUNC) await this.#staging.truncate(staged, 0);
    } catch (error) {
      await file.close();
      throw error;
    }
    return this.#add(file);
  }

  /** Acquires the revision before it waits for anything else, so that the reader keeps the revision it was given. */
  async #openForReading(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    if (isLayered(image)) return this.#openLayered(path, backend, image, flags);
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

  /**
   * Opens an image made of layers. Its size is known only when its layers are here, which may take as long as bytes arrive; the
   * revision is acquired after that. If another one is open by then, its readers' revision is opened instead.
   */
  async #openLayered(path: string, backend: Backend, image: LayeredImage, flags: number): Promise<number> {
    if (this.#verify !== undefined) throw neverSigned(path);
    const opened = await this.#session.layered.open(backend, image, this.#lookup.current(backend, image));
    try {
      const file = new LayeredFile(path, opened);
      const written = this.#staging.find(path);
      const held = this.#lookup.openRevisions.get(keyOf(path));
      const isOther = held !== undefined && held.revision !== image.revision;
      if (written !== undefined || isOther) {
        await opened[Symbol.asyncDispose]();
        if (written !== undefined) return await this.#openStaged(path, written, flags);
        return await this.#openForReading(path, backend, held as RemoteImage, flags);
      }
      return this.#add(file, this.#lookup.openRevisions.acquire(keyOf(path), opened.image, path));
    } catch (error) {
      await opened[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Opens an image that may be read. */
  async #openImage(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (image.unpresentable !== undefined)
      throw new SregistryError('NOT_PRESENTABLE', `${path}: ${image.unpresentable}`);
    const file = await this.#openBytes(path, backend, image);
    try {
      await this.#verify?.(file, () => this.#lookup.signal());
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #openBytes(path: string, backend: Backend, image: RemoteImage): Promise<OpenFile> {
    if (backend.openLocal !== undefined) return new LocalFile(path, image, await backend.openLocal(image));
    const cached = this.#session.openCached(backend, image, this.#lookup.changeOf(backend, image));
    this.#session.cache.foresee(cached, image.trace);
    return new CachedFile(path, image, cached, (open) => this.#session.cache.close(open));
  }

  async #openForUpdate(path: string, backend: Backend, image: RemoteImage, flags: number): Promise<number> {
    await this.#permissions.checkPush(path, backend.name);
    if (this.#permissions.keepsExisting || flags & O_EXCL) throw exists(path);
    const written = this.#staging.find(path);
    if (written !== undefined) return this.#openStaged(path, written, flags);
    this.#checkUnread(path);
    const copyUp = async (to: string) => {
      if (isLayered(image)) throw inLayers(path);
      await this.#checkCurrent(path, backend, image);
      if (this.#verify !== undefined) await (await this.#openImage(path, backend, image)).close();
      await this.#session.copyTo(backend, image, to);
    };
    return this.#openStaged(path, this.#staging.update(path, { copyUp, shown: imageFacts(image, 0) }), flags);
  }

  /**
   * Opens a name that may or may not exist, because its service did not answer. The name can be written anew. It can be written
   * in place only if it turns out not to exist: the writer was told nothing of the bytes it would change.
   */
  async #openUnseen(path: string, backend: Backend, { name }: OfImage, flags: number): Promise<number> {
    await this.#permissions.checkPush(path, backend.name);
    if (flags & O_EXCL) throw exists(path);
    const written = this.#staging.find(path);
    if (written !== undefined) return this.#openStaged(path, written, flags);
    this.#checkUnread(path);
    const copyUp = async () => {
      const current = await backend.resolve(name, this.#lookup.signal());
      if (current === undefined) return;
      this.#lookup.noteChange(backend, name, current);
      throw unseen(path);
    };
    const staged = this.#staging.update(path, { copyUp, shown: UNSEEN_FILE, isUnseen: true });
    return this.#openStaged(path, staged, flags);
  }

  /**
   * Throws STALE if the registry has another revision by now. The known revision of an unreachable service may be old, and
   * updating it would undo what others have pushed since.
   */
  async #checkCurrent(path: string, backend: Backend, { name, revision }: RemoteImage): Promise<void> {
    const current = await backend.resolve(name, this.#lookup.signal());
    if (current?.revision === revision) return;
    this.#lookup.noteChange(backend, name, current);
    throw new SregistryError('STALE', `${path} was changed in its registry since it was opened`, {
      hint: 'Open it again',
    });
  }

  /** Throws IN_USE if an image is open for reading. */
  #checkUnread(path: string): void {
    if (this.#lookup.openRevisions.get(keyOf(path)) !== undefined) throw inUse(path);
  }

  #add(file: OpenFile, reference?: RevisionReference): number {
    this.#errors.clear(file.path);
    return this.#files.add(file, reference);
  }
}

/** The error for bytes that were not known when the file was opened for writing. */
function unseen(path: string): SregistryError {
  return new SregistryError('STALE', `The registry did not answer when ${path} was opened for writing`, {
    hint: 'Open it again when the registry answers, or write the whole file',
  });
}

/** The error for changing a part of an image whose service has it as layers: nothing there would have the change. */
function inLayers(path: string): SregistryError {
  return new SregistryError('NOT_PRESENTABLE', `${path} is stored as layers and cannot be changed in place`, {
    hint: 'Copy it, change the copy, and write that as a whole',
  });
}

/** The error for an image in layers with --require-signed. No layer of it is fetched. */
function neverSigned(path: string): SregistryError {
  return new SregistryError('NOT_SIGNED', `${path} cannot be read: ${NEVER_SIGNED}`, {
    hint: 'Pull it as a file, sign that with apptainer sign, and push it: the mount opens only signed images (--require-signed)',
  });
}

/** The error for reading a file being written with --require-signed: bytes that can still change cannot be verified. */
function beingWritten(path: string): SregistryError {
  return new SregistryError('NOT_SIGNED', `${path} cannot be read while it is being written`);
}
