/**
 * A file being written into the mount: its bytes in the staging folder, and where it stands between the first write
 * and the push. A file opened for update starts as the revision it replaces, which is only copied here when a byte of
 * it is needed: a writer that truncates first, as most do, costs no transfer.
 */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { errorOfStaging } from './staging-errors.ts';

/** Copies the revision being updated to a path. */
export type CopyUp = (to: string) => Promise<void>;

export class StagedFile {
  /** Path in the mount; changes when it is renamed. */
  path: string;
  /** Path of its bytes on local disk. */
  readonly file: string;
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
  /** Did it start as a revision that exists? */
  readonly isUpdate: boolean;
  readonly #handle: FileHandle;
  #size: number;
  #copyUp: CopyUp | undefined;
  #copying: Promise<void> | undefined;

  constructor(path: string, file: string, handle: FileHandle, size: number, copyUp?: CopyUp) {
    this.path = path;
    this.file = file;
    this.#handle = handle;
    this.#size = size;
    this.#copyUp = copyUp;
    this.isUpdate = copyUp !== undefined;
  }

  /** Opens the staged file, creating it if it is not there. `size`: bytes of the revision that `copyUp` copies. */
  static async open(path: string, file: string, copyUp?: CopyUp, size?: number): Promise<StagedFile> {
    const handle = await open(file, 'a+', 0o600).then(async (created) => {
      await created.close();
      return open(file, 'r+');
    });
    return new StagedFile(path, file, handle, size ?? (await handle.stat()).size, copyUp);
  }

  /** Bytes it has, or will have once the revision it updates is copied. */
  get size(): number {
    return this.#size;
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    await this.#materialize();
    const { bytesRead } = await this.#handle.read(target, 0, length, offset);
    return bytesRead;
  }

  async write(source: Uint8Array, offset: number, length: number): Promise<void> {
    await this.#materialize();
    for (let done = 0; done < length; ) {
      const { bytesWritten } = await this.#handle
        .write(source, done, length - done, offset + done)
        .catch(errorOfStaging(this.path));
      done += bytesWritten;
    }
    this.#size = Math.max(this.#size, offset + length);
    this.#changed();
  }

  async truncate(size: number): Promise<void> {
    if (size === 0) this.#copyUp = undefined;
    await this.#materialize();
    await this.#handle.truncate(size).catch(errorOfStaging(this.path));
    this.#size = size;
    this.#changed();
  }

  async sync(): Promise<void> {
    await this.#handle.datasync().catch(errorOfStaging(this.path));
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Closes it and removes its bytes. */
  async remove(): Promise<void> {
    await this.close().catch(() => {});
    await rm(this.file, { force: true });
  }

  #changed(): void {
    this.dirty = true;
    this.changes += 1;
    this.failure = undefined;
    this.modified = Date.now();
  }

  /** Brings the bytes of the revision being updated here, once, before the first of them is read or changed. */
  async #materialize(): Promise<void> {
    const copyUp = this.#copyUp;
    if (copyUp === undefined) return;
    this.#copying ??= copyUp(this.file);
    try {
      await this.#copying;
      this.#copyUp = undefined;
    } finally {
      this.#copying = undefined;
    }
  }
}
