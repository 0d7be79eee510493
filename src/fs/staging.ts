/**
 * Holds everything that was written into the mount and is not yet in a registry.
 *
 * A file is staged on disk, journaled from its first byte, and pushed when a writer closes it and it is a whole image under an
 * image's name. states.ts says what each operation does in each state; closing.ts looks and pushes; restore.ts takes over what
 * earlier processes left.
 *
 * A file leaves the paths of the mount in the same step in which its last handle is released: the next open of
 * the path gets the registry's image, and waits until its bytes are in the cache ({@link Staging.settled}).
 */
import { join } from 'node:path';
import { SregistryError } from '../base/errors.ts';
import type { Journal } from '../catalog/journal.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import { Changes } from './changes.ts';
import { Closing } from './closing.ts';
import type { Publisher } from './publisher.ts';
import { removeOrphans, takeOver } from './restore.ts';
import { type Original, StagedFile } from './staged-file.ts';
import { StagedJournal } from './staged-journal.ts';
import { newStagedName } from './staged-name.ts';
import { baseOf, keyOf, parentOf } from './tree.ts';
import type { FindWriters } from './writers.ts';

const debug = debugLog('staging');

export interface StagingOptions {
  /** Folder of the staged files, on the file system of the cache. */
  readonly folder: string;
  readonly journal: Journal;
  readonly publisher: Publisher;
  /** Finds who has a path open. Default: unknown. */
  readonly findWriters?: FindWriters | undefined;
}

export class Staging {
  readonly #options: StagingOptions;
  readonly #journal: StagedJournal;
  readonly #closing: Closing;
  readonly #changes: Changes;
  readonly #files = new Map<string, StagedFile>();
  /** Pushed files on their way into the cache. */
  readonly #leaving = new Map<string, Promise<void>>();
  #stopped = false;

  constructor(options: StagingOptions) {
    this.#options = options;
    const { publisher } = options;
    this.#journal = new StagedJournal(options.journal, (backend, name) => publisher.uri(backend, name));
    this.#closing = new Closing(publisher, this.#journal, {
      onRefused: (staged) => this.#drop(staged),
      onClosed: (staged) => this.#rest(staged),
    });
    this.#changes = new Changes(this.#journal, this.#closing, publisher, options.findWriters);
  }

  /** The file that a path, or another path of the same image, stands for. */
  find(path: string): StagedFile | undefined {
    return this.#files.get(keyOf(path));
  }

  /** Resolves when the bytes that were pushed to this path are where the next reader finds them. */
  async settled(path: string): Promise<void> {
    await this.#leaving.get(keyOf(path));
  }

  /** File names staged directly in a folder. */
  list(folder: string): string[] {
    return this.#all()
      .filter(({ path }) => parentOf(path) === folder)
      .map(({ path }) => baseOf(path));
  }

  /** Is a file staged in a folder, or in one of its folders? */
  hasBelow(folder: string): boolean {
    return this.#all().some(({ path }) => path.startsWith(`${folder}/`));
  }

  /** Is there a closed file in this backend, which may be about to be renamed over another? */
  hasClosed(backend: string): boolean {
    return this.#all().some(
      ({ path, state }) => path.startsWith(`/${backend}/`) && (state === 'incomplete' || state === 'kept'),
    );
  }

  /** Files being looked at or pushed in this process. */
  get pushing(): number {
    return this.#closing.active;
  }

  /** Makes an empty file at a path where none is staged. */
  create(path: string): StagedFile {
    return this.#add(path);
  }

  /** Makes a file that starts as the revision now at `path`, where none is staged. */
  update(path: string, original: Original): StagedFile {
    return this.#add(path, original);
  }

  async write(staged: StagedFile, source: Uint8Array, offset: number, length: number): Promise<void> {
    const act = () => staged.write(source, offset, length);
    try {
      await this.#changes.reserve(staged, length);
      await this.#changes.change(staged, { bytes: length, inPlace: true, act });
    } catch (error) {
      staged.noteLost(offset, offset + length);
      throw error;
    }
  }

  async truncate(staged: StagedFile, size: number): Promise<void> {
    await this.#changes.change(staged, {
      bytes: staged.size,
      inPlace: size > 0,
      act: () => staged.truncate(size),
    });
  }

  async read(staged: StagedFile, target: Uint8Array, offset: number, length: number): Promise<number> {
    let count = 0;
    await this.#changes.withRoom(staged, staged.size, async () => {
      count = await staged.read(target, offset, length);
    });
    return count;
  }

  sync(staged: StagedFile): Promise<void> {
    return this.#changes.withRoom(staged, staged.size, () => staged.sync());
  }

  /** Handles a writer's close of the file: see {@link Closing.flush}. */
  flush(staged: StagedFile): Promise<void> {
    staged.noteClose();
    return this.#closing.flush(staged);
  }

  /**
   * Ends a push of the file and waits for its end. The state then tells the outcome. Nothing else happens to the file until
   * {@link letGo}.
   */
  async hold(staged: StagedFile): Promise<void> {
    staged.isHeld = true;
    await this.#closing.cancel(staged);
  }

  /** Ends a {@link hold}. The file continues as its state says. */
  async letGo(staged: StagedFile): Promise<void> {
    staged.isHeld = false;
    if (staged.handles === 0 && staged.closing === undefined) await this.#rest(staged);
  }

  /** Releases one handle. */
  async release(staged: StagedFile): Promise<void> {
    staged.handles -= 1;
    if (staged.handles === 0 && staged.closing === undefined) await this.#rest(staged);
  }

  /** Forgets the file. Its bytes are removed when its last handle is released. */
  async discard(staged: StagedFile): Promise<void> {
    this.#drop(staged);
    staged.isHeld = true;
    await this.#closing.cancel(staged);
    staged.isHeld = false;
    if (staged.state === 'gone' || staged.state === 'discarded') return;
    staged.apply('discard');
    this.#journal.end(staged);
    if (staged.handles === 0) await this.#leave(staged);
  }

  /**
   * Moves the file to another path, over what is staged there. A closed file is looked at again, as its name may be an image's
   * now. Throws what closing it there would.
   */
  async rename(staged: StagedFile, path: string): Promise<void> {
    const replaced = this.find(path);
    if (replaced !== undefined && replaced !== staged) await this.discard(replaced);
    await this.#changes.journaled(() => this.#journal.rename(staged, path));
    this.#move(staged, path);
    if (staged.state === 'open' && !staged.isClosed && staged.handles > 0) return;
    await this.#pushAgain(staged);
  }

  /** Gives a file that shows an image of the registry the path that the image was renamed to. */
  follow(staged: StagedFile, path: string, image: RemoteImage): void {
    staged.remote = image;
    this.#move(staged, path);
  }

  /**
   * Takes over the files of the given backends that earlier processes left in the journal. Resolves when the files are in
   * place; their pushes continue.
   */
  async restore(backends: readonly string[]): Promise<void> {
    const { folder, journal } = this.#options;
    await removeOrphans(folder, journal);
    await takeOver(journal, backends, {
      has: (record) => this.#all().some((staged) => staged.record === record),
      isFree: (path) => this.find(path) === undefined,
      place: (staged) => {
        if (this.find(staged.path) !== undefined) return false;
        this.#files.set(staged.key, staged);
        return true;
      },
      withdraw: (staged) => this.#drop(staged),
      push: (staged) => this.#pushAgain(staged),
    });
  }

  /** Pushes a file as it is, because its owner asks for it. Throws BUSY while it is open, NOT_AN_IMAGE if it is not whole. */
  async pushKept(record: string): Promise<void> {
    const staged = this.#idleFile(record);
    staged.accept();
    await this.#pushAgain(staged);
    if (staged.state !== 'incomplete') return;
    throw new SregistryError(
      'NOT_AN_IMAGE',
      `${staged.path} is not a whole image, or its name is not an image name`,
      {
        hint: 'sregistry status says what it lacks',
      },
    );
  }

  /** Removes a file, because its owner asks for it. Throws BUSY while it is open. */
  async dropKept(record: string): Promise<void> {
    await this.discard(this.#idleFile(record));
  }

  /** Resolves when nothing is being pushed or on its way into the cache. */
  async idle(): Promise<void> {
    do {
      await this.#closing.idle();
      await Promise.all(this.#leaving.values());
    } while (this.#closing.active > 0 || this.#leaving.size > 0);
  }

  /** Ends pushes, which stay in the journal, and closes the files. Further writes are an error. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#changes.end();
    await this.#closing.stop();
    await Promise.all(this.#leaving.values());
    for (const staged of this.#all()) {
      if (staged.record === undefined) await this.discard(staged);
      else await staged.close().catch(() => {});
    }
  }

  /** Looks again at a file that was closed before. */
  async #pushAgain(staged: StagedFile): Promise<void> {
    if (staged.state !== 'open') staged.apply('change');
    await this.flush(staged);
  }

  /** The file of a record. Throws NOT_FOUND if it is gone, BUSY if it is open or being pushed. */
  #idleFile(record: string): StagedFile {
    const staged = this.#all().find((each) => each.record === record);
    if (staged === undefined)
      throw new SregistryError('NOT_FOUND', 'The file is not there any more: it was pushed or removed');
    if (staged.handles === 0 && staged.closing === undefined) return staged;
    throw new SregistryError('BUSY', `${staged.path} is being written or pushed`, {
      hint: 'Try again when its writer is done',
    });
  }

  #all(): StagedFile[] {
    return [...this.#files.values()];
  }

  #add(path: string, original?: Original): StagedFile {
    const staged = new StagedFile(path, join(this.#options.folder, newStagedName()), original);
    this.#files.set(staged.key, staged);
    return staged;
  }

  #move(staged: StagedFile, path: string): void {
    this.#drop(staged);
    staged.rename(path);
    this.#files.set(staged.key, staged);
  }

  #drop(staged: StagedFile): void {
    if (this.#files.get(staged.key) === staged) this.#files.delete(staged.key);
  }

  /** Called when the last handle of the file is released. */
  async #rest(staged: StagedFile): Promise<void> {
    if (staged.handles > 0 || staged.isHeld) return;
    switch (staged.state) {
      case 'pushed':
        return this.#settle(staged);
      case 'unchanged':
      case 'refused':
      case 'discarded':
        return this.#leave(staged);
      case 'open':
        return this.#abandon(staged);
      case 'kept':
      case 'incomplete':
        return staged.close();
    }
  }

  /** Called when the last writer is gone. The file was closed before its push was canceled, or never closed. */
  async #abandon(staged: StagedFile): Promise<void> {
    if (this.#stopped) return;
    if (staged.isClosed) {
      void this.#closing.flush(staged).catch((error) => debug('%s: %o', staged.path, error));
      return;
    }
    staged.apply('part');
    this.#journal.note(staged, { state: 'incomplete', error: 'Its writer ended without closing it' });
  }

  #settle(staged: StagedFile): Promise<void> {
    const { key } = staged;
    staged.apply('leave');
    this.#drop(staged);
    const leaving = this.#keep(staged).finally(() => {
      if (this.#leaving.get(key) === leaving) this.#leaving.delete(key);
    });
    this.#leaving.set(key, leaving);
    return leaving;
  }

  /** Gives the bytes to the cache, if it takes them. Then they are gone from the staging folder. */
  async #keep(staged: StagedFile): Promise<void> {
    const [, backend = ''] = staged.path.split('/');
    try {
      await staged.close();
      if (staged.remote !== undefined)
        await this.#options.publisher.settle(backend, staged.remote, staged.file);
    } catch (error) {
      debug('%s was pushed but not taken into the cache: %o', staged.path, error);
    }
    await staged.remove().catch((error) => debug('%s is left: %o', staged.file, error));
  }

  async #leave(staged: StagedFile): Promise<void> {
    staged.apply('leave');
    this.#drop(staged);
    await staged.remove();
  }
}
