/**
 * Everything written into the mount and not yet pushed.
 *
 * A file is staged on disk, journaled from its first byte, and pushed when the image is whole: its own header says so,
 * so closing a whole image pushes it and gives the push's outcome, while the early close of a part pushes nothing. What
 * is no image is refused. A push that fails leaves the file staged under its path, where it can be read, written again
 * or removed, and it is tried again at the next mount.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describeError, isError, SregistryError } from '../base/errors.ts';
import { ownProcess, processStartTime } from '../base/process.ts';
import type { Journal } from '../catalog/journal.ts';
import type { PushRecord } from '../catalog/push-record.ts';
import { identify } from '../image/format.ts';
import type { ImageName } from '../image/name.ts';
import { openFileSource } from '../image/source.ts';
import { debugLog } from '../log/index.ts';
import { type Original, StagedFile } from './staged-file.ts';
import { baseOf, type ImagePlace, parentOf, parsePath } from './tree.ts';

const debug = debugLog('staging');

const NAME_HINT = 'Rename it to <image>:<tag>.simg to push it, or remove it';

/** What staging needs from the rest: pushing an image, and what to do with a file that was pushed. */
export interface Publisher {
  /** `sregistry` URI of a name, for people. */
  uri(backend: string, name: ImageName): string;
  push(request: PushRequest): Promise<void>;
  /** Disposes of the bytes of a pushed file that nobody has open: into the cache, or removed. */
  settle(backend: string, name: ImageName, file: string): Promise<void>;
}

export interface PushRequest {
  readonly backend: string;
  readonly name: ImageName;
  readonly extension: string;
  readonly file: string;
  readonly size: number;
  readonly progress: (done: number) => void;
  readonly resume: {
    load(): Record<string, unknown> | undefined;
    save(state: Record<string, unknown>): void;
  };
  readonly signal: AbortSignal;
}

export class Staging {
  readonly #folder: string;
  readonly #journal: Journal;
  readonly #publisher: Publisher;
  readonly #files = new Map<string, StagedFile>();
  readonly #flushes = new Map<StagedFile, Promise<void>>();
  readonly #controller = new AbortController();

  constructor(folder: string, journal: Journal, publisher: Publisher) {
    this.#folder = folder;
    this.#journal = journal;
    this.#publisher = publisher;
  }

  find(path: string): StagedFile | undefined {
    return this.#files.get(path);
  }

  /** File names staged directly in a folder. */
  list(folder: string): string[] {
    return [...this.#files.keys()].filter((path) => parentOf(path) === folder).map(baseOf);
  }

  /** Files being looked at or pushed in this process. */
  get pushing(): number {
    return this.#flushes.size;
  }

  /** A new, empty file. */
  create(path: string): Promise<StagedFile> {
    return this.#add(path);
  }

  /** A file that starts as the revision now at `path`. */
  update(path: string, original: Original): Promise<StagedFile> {
    return this.#add(path, original);
  }

  /** Notes in the journal that the file has bytes; call after each write or truncation. */
  noteChange(staged: StagedFile): void {
    if (staged.record === undefined && !staged.discarded)
      staged.record = this.#journal.create(this.#draft(staged)).id;
  }

  /**
   * What a writer's `close()` waits for: pushes the file if it is a whole image under an image's name. Throws the
   * push's error; NOT_AN_IMAGE where the bytes are none.
   */
  async flush(staged: StagedFile): Promise<void> {
    const running = this.#flushes.get(staged);
    if (running !== undefined) await running;
    if (staged.discarded) return;
    if (staged.failure !== undefined) throw staged.failure;
    if (!staged.dirty) return;
    const flush = this.#flushNow(staged).finally(() => this.#flushes.delete(staged));
    this.#flushes.set(staged, flush);
    return flush;
  }

  async #flushNow(staged: StagedFile): Promise<void> {
    const found = await this.#identify(staged);
    if (found.state === 'not-an-image') return this.#refuse(staged, found.reason);
    const place = parsePath(staged.path);
    if (found.state !== 'whole') return this.#wait(staged, found.reason);
    if (place?.kind !== 'image') {
      return this.#wait(staged, 'The image is whole, but its file name is not one of an image', NAME_HINT);
    }
    return this.#push(staged, place);
  }

  /** The last handle was closed: what was pushed leaves, what was opened but not changed or was refused is dropped. */
  async release(staged: StagedFile): Promise<void> {
    if (staged.handles > 0 || this.#flushes.has(staged)) return;
    if (staged.discarded) return staged.remove();
    const place = parsePath(staged.path);
    if (staged.isPushed && place?.kind === 'image') {
      await staged.close();
      await this.#publisher.settle(place.backend, place.name, staged.file).catch((error) => {
        debug('%s was pushed but not taken into the cache: %o', staged.path, error);
      });
      this.#drop(staged);
      await rm(staged.file, { force: true });
      return;
    }
    const wasOnlyOpened = staged.record === undefined && staged.isUpdate;
    if (wasOnlyOpened || isError(staged.failure, 'NOT_AN_IMAGE')) await this.discard(staged);
  }

  /** Forgets the file; its bytes go when its last handle is closed. */
  async discard(staged: StagedFile): Promise<void> {
    this.#drop(staged);
    staged.discarded = true;
    if (staged.record !== undefined && !isError(staged.failure, 'NOT_AN_IMAGE'))
      this.#journal.remove(staged.record);
    staged.record = undefined;
    if (staged.handles === 0) await staged.remove();
  }

  /** Moves the file to another path, over what is staged there, and pushes it if it is an image's now. */
  async rename(staged: StagedFile, path: string): Promise<void> {
    const replaced = this.#files.get(path);
    if (replaced !== undefined && replaced !== staged) await this.discard(replaced);
    this.#files.delete(staged.path);
    staged.path = path;
    this.#files.set(path, staged);
    const { backend, path: below, uri } = this.#draft(staged);
    this.#update(staged, { backend, path: below, uri });
    try {
      await this.flush(staged);
    } finally {
      await this.release(staged);
    }
  }

  /**
   * Takes over what processes that ended left in the journal for the given backends, and pushes what is whole.
   * Resolves when the files are in place; the pushes go on.
   */
  async restore(backends: readonly string[]): Promise<void> {
    await this.#removeOrphans();
    for (const { id, backend, staged } of this.#journal.list()) {
      if (staged === undefined || !backends.includes(backend)) continue;
      const record = this.#journal.adopt(id, ownProcess());
      if (record !== undefined) await this.#restoreOne(record, staged);
    }
  }

  /** Resolves when nothing is being pushed. */
  async idle(): Promise<void> {
    while (this.#flushes.size > 0) await Promise.allSettled(this.#flushes.values());
  }

  /** Ends pushes, which stay in the journal, and closes the files. */
  async stop(): Promise<void> {
    this.#controller.abort(new SregistryError('CANCELED', 'The mount was ended before the push was done'));
    await this.idle();
    for (const staged of [...this.#files.values()]) {
      if (staged.record === undefined) await this.discard(staged);
      else await staged.close().catch(() => {});
    }
  }

  async #add(path: string, original?: Original): Promise<StagedFile> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const file = join(this.#folder, `${process.pid}-${randomUUID()}`);
    const staged = new StagedFile(path, file, original);
    const replaced = this.#files.get(path);
    this.#files.set(path, staged);
    if (replaced !== undefined) await this.discard(replaced);
    return staged;
  }

  #drop(staged: StagedFile): void {
    if (this.#files.get(staged.path) === staged) this.#files.delete(staged.path);
  }

  async #identify(staged: StagedFile) {
    await using source = await openFileSource(staged.file);
    return await identify(source);
  }

  async #push(staged: StagedFile, place: ImagePlace): Promise<void> {
    const { backend, name, extension } = place;
    const { changes, size } = staged;
    this.noteChange(staged);
    const id = staged.record as string;
    this.#update(staged, {
      state: 'pushing',
      size,
      bytes: 0,
      error: undefined,
      hint: undefined,
      staged: staged.file,
    });
    try {
      await staged.sync();
      await this.#publisher.push({
        backend,
        name,
        extension,
        file: staged.file,
        size,
        progress: throttle((bytes) => this.#journal.update(id, { bytes })),
        resume: {
          load: () => this.#journal.get(id)?.resume,
          save: (resume) => void this.#journal.update(id, { resume }),
        },
        signal: this.#controller.signal,
      });
    } catch (error) {
      this.#update(staged, { state: 'kept', error: describeError(error), hint: hintOf(error) });
      if (staged.changes === changes) {
        staged.failure = error;
        staged.dirty = false;
      }
      throw error;
    }
    if (staged.changes !== changes) return;
    staged.dirty = false;
    this.#journal.remove(id);
    staged.record = undefined;
    this.#forgetRefusal(staged);
  }

  /** What was refused at a path needs not be told any more once an image was pushed there. */
  #forgetRefusal(staged: StagedFile): void {
    const { backend, path } = this.#draft(staged);
    const record = this.#journal.findByPath(backend, path);
    if (record?.state === 'refused') this.#journal.remove(record.id);
  }

  /** Closed before it can be pushed: it stays, and the journal says what it waits for. */
  #wait(staged: StagedFile, error: string, hint?: string): void {
    this.#update(staged, { state: 'incomplete', size: staged.size, error, hint, staged: staged.file });
  }

  #refuse(staged: StagedFile, reason: string): never {
    const failure = new SregistryError('NOT_AN_IMAGE', `${staged.path} was refused: ${reason}`, {
      hint: 'Only container images (SIF, SquashFS, Singularity 2.x) can be copied into a registry',
    });
    staged.failure = failure;
    staged.dirty = false;
    this.noteChange(staged);
    this.#update(staged, {
      state: 'refused',
      size: staged.size,
      error: failure.message,
      hint: failure.hint,
      staged: undefined,
    });
    throw failure;
  }

  #update(staged: StagedFile, changes: Parameters<Journal['update']>[1]): void {
    if (staged.record !== undefined) this.#journal.update(staged.record, changes);
  }

  #draft(staged: StagedFile) {
    const [, backend = '', ...rest] = staged.path.split('/');
    const place = parsePath(staged.path);
    const path = rest.join('/');
    return {
      backend,
      path,
      uri: place?.kind === 'image' ? this.#publisher.uri(backend, place.name) : `${backend}://${path}`,
      state: 'staging' as const,
      bytes: 0,
      size: staged.size,
      staged: staged.file,
      owner: ownProcess(),
    };
  }

  async #restoreOne(record: PushRecord, file: string): Promise<void> {
    const path = `/${record.backend}/${record.path}`;
    const staged = await StagedFile.restore(path, file, record.id).catch((error) => {
      const reason = `Its staged file cannot be read: ${describeError(error)}`;
      this.#journal.update(record.id, { state: 'refused', error: reason, staged: undefined });
    });
    if (staged === undefined) return;
    this.#files.set(path, staged);
    void this.flush(staged)
      .then(() => this.release(staged))
      .catch((error) => debug('%s is still not pushed: %s', path, describeError(error)));
  }

  /** Removes files of processes that ended which no record names: never written, or pushed and not cleared away. */
  async #removeOrphans(): Promise<void> {
    const known = new Set(this.#journal.list().map(({ staged }) => staged && basename(staged)));
    for (const name of await readdir(this.#folder).catch(() => [])) {
      const owner = Number.parseInt(name, 10);
      if (known.has(name) || processStartTime(owner) !== undefined) continue;
      await rm(join(this.#folder, name), { force: true });
    }
  }
}

function hintOf(error: unknown): string {
  return (isError(error) && error.hint) || 'The file is kept and pushed again at the next mount';
}

/** Milliseconds between two notes of a push's progress in the journal. */
const PROGRESS_INTERVAL = 500;

function throttle(note: (done: number) => void): (done: number) => void {
  let last = 0;
  return (done) => {
    if (Date.now() - last < PROGRESS_INTERVAL) return;
    last = Date.now();
    note(done);
  };
}
