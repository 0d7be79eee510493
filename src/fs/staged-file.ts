/**
 * A file being written into the mount: its bytes in the staging folder, and where it stands between the first write
 * and the push. A file opened for update starts as the revision it replaces, which is only copied here when a byte of
 * it is needed: a writer that truncates first, as most do, costs no transfer.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { errorOfStaging } from './staging-errors.ts';

/** Brings the revision being updated to a path where nothing is yet. */
export type CopyUp = (to: string) => Promise<void>;

export interface Original {
  readonly copyUp: CopyUp;
  /** Bytes of the revision. */
  readonly size: number;
}

export class StagedFile {
  /** Path in the mount; changes when it is renamed. */
  path: string;
  /** Path of its bytes on local disk. */
  readonly file: string;
  /** Did it start as a revision that exists? */
  readonly isUpdate: boolean;
  /** Id in the journal; none while nothing was written. */
  record: string | undefined;
  /** Open handles. */
  handles = 0;
  /** Do its bytes differ from what was pushed, refused or opened? */
  dirty = false;
  /** Counts changes, to tell whether it changed while it was being pushed. */
  changes = 0;
  /** Why the last push of the present bytes failed or was refused. */
  failure: unknown;
  /** Removed or replaced while open: nothing is pushed any more. */
  discarded = false;
  /** Milliseconds since the epoch of the last change. */
  modified = Date.now();
  #size: number;
  #copyUp: CopyUp | undefined;
  #handle: Promise<FileHandle> | undefined;

  constructor(path: string, file: string, original?: Original) {
    this.path = path;
    this.file = file;
    this.isUpdate = original !== undefined;
    this.#size = original?.size ?? 0;
    this.#copyUp = original?.copyUp;
  }

  /** A file that another process staged and left. */
  static async restore(path: string, file: string, record: string): Promise<StagedFile> {
    const staged = new StagedFile(path, file);
    const { size, mtimeMs } = await stat(file);
    staged.#size = size;
    staged.modified = mtimeMs;
    staged.record = record;
    staged.dirty = true;
    staged.changes = 1;
    return staged;
  }

  /** Bytes it has, or will have once the revision it updates is copied. */
  get size(): number {
    return this.#size;
  }

  /** Are its present bytes in the registry? */
  get isPushed(): boolean {
    return this.record === undefined && !this.dirty && this.changes > 0;
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    const handle = await this.#open();
    const { bytesRead } = await handle.read(target, 0, length, offset);
    return bytesRead;
  }

  async write(source: Uint8Array, offset: number, length: number): Promise<void> {
    const handle = await this.#open();
    for (let done = 0; done < length; ) {
      const { bytesWritten } = await handle
        .write(source, done, length - done, offset + done)
        .catch(errorOfStaging(this.path));
      done += bytesWritten;
    }
    this.#size = Math.max(this.#size, offset + length);
    this.#changed();
  }

  async truncate(size: number): Promise<void> {
    if (size === 0) this.#copyUp = undefined;
    const handle = await this.#open();
    await handle.truncate(size).catch(errorOfStaging(this.path));
    this.#size = size;
    this.#changed();
  }

  async sync(): Promise<void> {
    const handle = await this.#open();
    await handle.datasync().catch(errorOfStaging(this.path));
  }

  async close(): Promise<void> {
    const handle = await this.#handle?.catch(() => undefined);
    this.#handle = undefined;
    await handle?.close();
  }

  /** Closes it and removes its bytes. */
  async remove(): Promise<void> {
    await this.close();
    await rm(this.file, { force: true });
  }

  #changed(): void {
    this.dirty = true;
    this.changes += 1;
    this.failure = undefined;
    this.modified = Date.now();
  }

  /** Opens it once, when its bytes are first needed; what fails is tried again by the next who needs them. */
  #open(): Promise<FileHandle> {
    if (this.#handle === undefined) {
      const opening = this.#openNow();
      this.#handle = opening;
      opening.catch(() => {
        this.#handle = undefined;
      });
    }
    return this.#handle;
  }

  async #openNow(): Promise<FileHandle> {
    await this.#copyUp?.(this.file).catch(errorOfStaging(this.path));
    this.#copyUp = undefined;
    return open(this.file, constants.O_RDWR | constants.O_CREAT, 0o600);
  }
}
