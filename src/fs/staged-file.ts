/**
 * A file being written into the mount: its bytes in the staging folder, what is known of them, and its state (states.ts).
 *
 * A file opened for update starts as the revision it replaces. That revision is copied here when a byte of it is needed, so a
 * writer that truncates first, as most do, costs no transfer.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ByteRange, Extents } from '../base/extents.ts';
import type { PushPhase } from '../catalog/push-record.ts';
import { noteSpare, removeStaged } from '../catalog/staged-note.ts';
import type { RemoteImage } from '../image/remote.ts';
import { nextState, type StagedEvent, type StagedState } from './states.ts';
import type { Shown } from './told.ts';
import { keyOf } from './tree.ts';
import type { Writer } from './writers.ts';

const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;

/** Copies the revision being updated to a new file. */
export type CopyUp = (to: string) => Promise<void>;

export interface Original {
  readonly copyUp: CopyUp;
  /** What the file shows until it is changed: the revision. */
  readonly shown: Shown;
  /** Is it unknown whether the revision exists? */
  readonly isUnseen?: boolean;
}

export class StagedFile {
  /** Path of its bytes on local disk. */
  readonly file: string;
  /** Id in the journal; undefined while there is nothing to lose. */
  record: string | undefined;
  /** Its record in the journal. */
  recorded: PushPhase | undefined;
  /** Open handles. */
  handles = 0;
  /** Handles that were opened for reading when the file was what the registry has. */
  publishedReaders = 0;
  /** How often it was opened for writing. */
  openings = 0;
  /** Does the caller that canceled its push decide what comes next? */
  isHeld = false;
  /** Why the push of the present bytes failed, or why they were refused. */
  failure: unknown;
  /** The registry's image, if the file was pushed or renamed from here. */
  remote: RemoteImage | undefined;
  /** The processes that change in place a file that was whole. */
  writers: readonly Writer[] = [];
  /** {@link openings} when the writers were looked up. */
  lookedUpAt = 0;
  /** The look at the file and its push, while they are under way. */
  closing: Promise<void> | undefined;
  /** Ends the push under way. */
  cancelPush: (() => void) | undefined;
  /** Milliseconds since the epoch of the last change. */
  modified = Date.now();
  /** The revision it was opened to update. */
  readonly #content: string | undefined;
  #path: string;
  #state: StagedState;
  /** Counts changes, to tell whether the file changed during a look at it. */
  #changes = 0;
  /** The number of changes when a writer last closed it. */
  #closedAt: number | undefined;
  #size: number;
  /** Bytes from the start that are still the original's. */
  #original: number;
  readonly #written = new Extents();
  /** Ranges that a writer failed to write, until somebody writes them. */
  #lost: readonly ByteRange[] = [];
  /** Did each write begin at or behind the end of the last one? */
  #isInOrder = true;
  /** Where the last write ended. */
  #end = 0;
  #copyUp: CopyUp | undefined;
  readonly #beganUnseen: boolean;
  #handle: Promise<FileHandle> | undefined;
  readonly #writing = new Set<Promise<void>>();

  constructor(path: string, file: string, original?: Original) {
    this.#path = path;
    this.file = file;
    this.#state = original === undefined ? 'open' : 'unchanged';
    this.#size = original?.shown.size ?? 0;
    this.#content = original?.shown.content;
    this.#original = this.#size;
    this.#copyUp = original?.copyUp;
    this.#beganUnseen = original?.isUnseen ?? false;
  }

  /** Opens a file that another process staged, closed and left. Its bytes count as written. */
  static async restore(
    path: string,
    { file, record, state }: { file: string; record: string; state: 'kept' | 'incomplete' },
  ): Promise<StagedFile> {
    const staged = new StagedFile(path, file);
    staged.#state = state;
    staged.recorded = state;
    const { size, mtimeMs } = await stat(file);
    staged.#size = size;
    staged.#written.add(0, size);
    staged.modified = mtimeMs;
    staged.record = record;
    return staged;
  }

  /** Path in the mount. */
  get path(): string {
    return this.#path;
  }

  /** The key of the path, the same for every spelling: see keyOf. */
  get key(): string {
    return keyOf(this.#path);
  }

  get state(): StagedState {
    return this.#state;
  }

  /** Its bytes, counting those of the revision it updates that are not copied yet. */
  get size(): number {
    return this.#size;
  }

  /** Changes when the bytes change. */
  get changes(): number {
    return this.#changes;
  }

  /** What it shows now: the revision that it updates, until it is changed. */
  get shown(): Shown {
    const { size, changes } = this;
    if (this.#state === 'unchanged' && this.#content !== undefined)
      return { size, content: this.#content, changes: 0 };
    return { size, content: this.file, changes };
  }

  /** Does it show what the registry has? */
  get isInRegistry(): boolean {
    return this.#state === 'pushed' || this.#state === 'unchanged';
  }

  /** Is it unknown whether it has any bytes? */
  get isUnseen(): boolean {
    return this.#beganUnseen && this.#state === 'unchanged';
  }

  /** Does it hold bytes of an image that was whole before it was changed? */
  get isUpdate(): boolean {
    return this.#original > 0;
  }

  apply(event: StagedEvent): void {
    const wasWhole = this.#state === 'pushed' || this.#state === 'kept';
    this.#state = nextState(this.#state, event);
    if (wasWhole && this.#state === 'open') this.#takeAsOriginal();
  }

  rename(path: string): void {
    this.#path = path;
  }

  /** Notes that a writer closed it. */
  noteClose(): void {
    this.#closedAt = this.#changes;
  }

  /** Was it closed since its bytes last changed? */
  get isClosed(): boolean {
    return this.#closedAt === this.#changes;
  }

  /**
   * Notes that a write of these bytes failed, so that the file is not what its writer means. Ignored if nothing of the file was
   * changed.
   */
  noteLost(start: number, end: number): void {
    if (this.#state === 'open') this.#lost = [...this.#lost, { start, end }];
  }

  /**
   * The first bytes of `wanted` that nobody wrote. The bytes of an original being updated count as written, unless a write of
   * them failed, or the writer began to overwrite the original from its first byte and stopped before the end. If the writer
   * went from the beginning to the end, a small hole counts as written: copies leave out runs of zeros.
   */
  missing(wanted: readonly ByteRange[]): ByteRange | undefined {
    const known = new Extents();
    for (const { start, end } of this.#written.ranges) known.add(start, end);
    if (!this.#isInterruptedOverwrite(wanted)) known.add(0, this.#original);
    const lost = this.#lost.find(({ start, end }) =>
      wanted.some((part) => start < part.end && part.start < end),
    );
    if (lost !== undefined) return lost;
    const allowed = this.#isInOrder ? SPARSE : 0;
    return wanted.map((range) => firstHole(known, range, allowed)).find((hole) => hole !== undefined);
  }

  /** Are the needed bytes of the revision it updates copied? */
  get isHere(): boolean {
    return this.#copyUp === undefined;
  }

  /** Copies the revision it updates. A failure changes nothing. */
  async fetch(): Promise<void> {
    await this.#open();
  }

  forgetWriters(): void {
    this.writers = [];
    this.lookedUpAt = 0;
  }

  /** Counts all bytes as written, as they are. */
  accept(): void {
    this.#written.add(0, this.#size);
    this.#lost = [];
    this.writers = [];
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    const handle = await this.#open();
    const { bytesRead } = await handle.read(target, 0, length, offset);
    return bytesRead;
  }

  /** Writes bytes. The caller takes care of the state and the journal. */
  write(source: Uint8Array, offset: number, length: number): Promise<void> {
    return this.#changing(async (handle) => {
      for (let done = 0; done < length; ) {
        const { bytesWritten } = await handle.write(source, done, length - done, offset + done);
        done += bytesWritten;
      }
      this.#size = Math.max(this.#size, offset + length);
      this.#written.add(offset, offset + length);
      this.#lost = this.#lost.flatMap((range) => without(range, { start: offset, end: offset + length }));
      this.#isInOrder &&= offset >= this.#end;
      this.#end = offset + length;
    });
  }

  truncate(size: number): Promise<void> {
    if (size === 0) {
      this.#copyUp = undefined;
      this.#original = 0;
    }
    return this.#changing(async (handle) => {
      await handle.truncate(size);
      this.#size = size;
      this.#original = Math.min(this.#original, size);
      this.#written.clip(size);
      this.#lost = this.#lost.flatMap((range) => without(range, { start: size, end: range.end }));
      this.#end = Math.min(this.#end, size);
      this.#isInOrder ||= size === 0;
    });
  }

  /** Resolves when no write is under way. */
  async quiet(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing);
  }

  async sync(): Promise<void> {
    const handle = await this.#open();
    await handle.datasync();
  }

  /** Closes the file on disk. It is opened again when its bytes are needed. */
  async close(): Promise<void> {
    const opening = this.#handle;
    this.#handle = undefined;
    const handle = await opening?.catch(() => undefined);
    await handle?.close();
  }

  /** Closes it and removes its bytes. */
  async remove(): Promise<void> {
    await this.close();
    await removeStaged(this.file);
  }

  /** Counts the change before the first byte changes, so that nobody takes a file that is being changed for a settled one. */
  async #changing(change: (handle: FileHandle) => Promise<void>): Promise<void> {
    this.#changes += 1;
    this.modified = Date.now();
    const run = this.#open().then(change);
    this.#writing.add(run);
    try {
      await run;
    } catch (error) {
      // A hole that is there now is not a run of zeros that a copy left out.
      this.#isInOrder = false;
      throw error;
    } finally {
      this.#writing.delete(run);
    }
  }

  /** Makes the present bytes, a whole image, the original that later writes change. */
  #takeAsOriginal(): void {
    this.#original = this.#size;
    this.#written.clip(0);
    this.#isInOrder = true;
    this.#end = 0;
  }

  /** Did the writer overwrite the image from byte 0 and stop inside one of its parts? */
  #isInterruptedOverwrite(wanted: readonly ByteRange[]): boolean {
    const [run, ...others] = this.#written.ranges;
    if (run === undefined || others.length > 0 || run.start > 0) return false;
    const header = wanted[0]?.end ?? 0;
    const isInside = wanted.some(({ start, end }) => start < run.end && run.end < end);
    return run.end > Math.max(header, OVERWRITE) && isInside;
  }

  /** Opens the file once, when its bytes are first needed. After a failure, the next caller tries again. */
  #open(): Promise<FileHandle> {
    if (this.#handle === undefined) {
      const opening = this.#openNow();
      this.#handle = opening;
      opening.catch(() => {
        if (this.#handle === opening) this.#handle = undefined;
      });
    }
    return this.#handle;
  }

  async #openNow(): Promise<FileHandle> {
    await mkdir(dirname(this.file), { recursive: true, mode: 0o700 });
    if (this.#state === 'unchanged') noteSpare(this.file);
    await this.#copyUp?.(this.file);
    this.#copyUp = undefined;
    // A removed file is an error, not a file of zeros.
    const create = this.#original > 0 ? 0 : O_CREAT;
    return open(this.file, O_RDWR | O_NOFOLLOW | create, 0o600);
  }
}

/** The parts of `range` that are not in `taken`. */
function without({ start, end }: ByteRange, taken: ByteRange): ByteRange[] {
  const parts = [
    { start, end: Math.min(end, taken.start) },
    { start: Math.max(start, taken.end), end },
  ];
  return parts.filter((part) => part.start < part.end);
}

/** The first run of more than `allowed` bytes of `range` that are not known. */
function firstHole(known: Extents, range: ByteRange, allowed: number): ByteRange | undefined {
  let hole = known.missing(range);
  while (hole !== undefined && hole.end - hole.start <= allowed)
    hole = known.missing({ start: hole.end, end: range.end });
  return hole;
}

/**
 * Bytes of the longest run of zeros that a copy may leave out of an image. SquashFS stores no block of zeros (a block has 128
 * KiB by default), so a run has at most the end of one block and the beginning of the next. `cp` leaves such runs out if its
 * source is sparse, as is an image of a mount that is only partly cached.
 */
const SPARSE = 256 * 1024;

/** A write that ends within so many bytes from the beginning patches the header; it does not start another image. */
const OVERWRITE = 64 * 1024;
