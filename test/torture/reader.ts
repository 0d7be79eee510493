/**
 * A process that reads images through a mount and compares every byte with what it can be. It says on its standard output, a line
 * of JSON each, what it found wrong, and from time to time how much it compared, so that it can be killed at any moment.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { Bytes, PAGE } from './content.ts';
import { Random } from './random.ts';
import {
  codeOf,
  emit,
  emptyTally,
  type Finding,
  isMountedAt,
  isThereAgain,
  type ReadTag,
  TALLY_INTERVAL,
} from './reports.ts';
import { TableReader } from './table.ts';
import { type Mismatch, Witness } from './witness.ts';

export interface ReaderTask {
  /** Of the bytes of contents. */
  readonly bytesSeed: string;
  readonly seed: string;
  readonly mountpoint: string;
  readonly table: string;
  /** sequential: whole images; random: parts of them in any order; openings: many, a part each. */
  readonly mode: 'sequential' | 'random' | 'openings';
  readonly tags: readonly ReadTag[];
  /** Bits are flipped on the way: only what was read to its end without an error has to be right. */
  readonly wrongBytes: boolean;
  /** Look at each tag once, instead of going on until killed. */
  readonly once?: boolean;
}

/** Chance that a reader goes on after an error within a file, as one that retries does. */
const PERSISTENCE = 0.5;
/** Milliseconds between two files: what is tortured needs the processor more than who does it. */
const PAUSE = 20;

class Reader {
  readonly #task: ReaderTask;
  readonly #random: Random;
  readonly #bytes: Bytes;
  readonly #table: TableReader;
  readonly #buffer = Buffer.alloc(1024 * 1024);
  #tally = emptyTally();
  #told = Date.now();

  constructor(task: ReaderTask) {
    this.#task = task;
    this.#random = new Random(task.seed);
    this.#bytes = new Bytes(task.bytesSeed);
    this.#table = new TableReader(task.table);
  }

  run(): void {
    const { tags, once } = this.#task;
    if (once) {
      for (const tag of tags) this.#attempt(tag, (fd, file) => this.#readAll(tag, fd, file));
      this.#tell(true);
      return;
    }
    for (;;) {
      const tag = this.#random.pick(tags);
      if (this.#task.mode === 'sequential') this.#attempt(tag, (fd, file) => this.#readAll(tag, fd, file));
      else this.#attempt(tag, (fd, file) => this.#readParts(tag, fd, file));
      this.#tell(false);
      pause(PAUSE);
    }
  }

  /** Some parts of an image. */
  #readParts(tag: ReadTag, fd: number, file: OpenFile): void {
    const { size } = fstatSync(fd);
    const count = this.#task.mode === 'openings' ? 1 : this.#random.integer(2, 40);
    for (let i = 0; i < count; i++) {
      const isAligned = this.#random.chance(0.5);
      const anywhere = this.#random.integer(0, Math.max(1, size));
      const offset = isAligned ? anywhere - (anywhere % PAGE) : anywhere;
      const length = this.#random.pick([PAGE, 1, 700, 3 * PAGE, 65_536, 131_072]);
      if (this.#readAt(tag, fd, file, offset, length) === undefined && !this.#random.chance(PERSISTENCE))
        return;
    }
  }

  /** From the first byte to where reads say that the file ends. */
  #readAll(tag: ReadTag, fd: number, file: OpenFile): void {
    const length = this.#random.pick([65_536, 131_072, 1024 * 1024, 10_000]);
    let offset = 0;
    for (;;) {
      const got = this.#readAt(tag, fd, file, offset, length);
      if (got === undefined) return;
      if (got === 0) break;
      offset += got;
    }
    const end = file.witness.end(offset);
    if (end !== undefined) this.#find('wrong-size', tag, file, end);
    else if (file.suspect !== undefined) this.#find('wrong-bytes', tag, file, file.suspect);
    else emit({ whole: { path: tag.path } });
    this.#tally.whole += 1;
  }

  /** Bytes read; undefined where the read failed or is not worth going on with. */
  #readAt(tag: ReadTag, fd: number, file: OpenFile, offset: number, length: number): number | undefined {
    let got: number;
    try {
      got = readSync(fd, this.#buffer, 0, length, offset);
    } catch (error) {
      this.#note(error);
      return undefined;
    }
    this.#tally.reads += 1;
    this.#tally.bytes += got;
    const mismatch = file.witness.see(this.#buffer.subarray(0, got), offset);
    this.#tell(false);
    if (mismatch === undefined) return got;
    if (this.#task.wrongBytes && mismatch.isFlipped) {
      file.suspect = mismatch;
      return got;
    }
    this.#find('wrong-bytes', tag, file, mismatch);
    return undefined;
  }

  /** Opens the file for `use`. */
  #attempt(tag: ReadTag, use: (fd: number, file: OpenFile) => void): void {
    const wasMounted = this.#isMounted();
    let fd: number;
    try {
      fd = openSync(join(this.#task.mountpoint, tag.path), 'r');
    } catch (error) {
      this.#note(error);
      this.#checkAbsence(tag, error, wasMounted);
      return;
    }
    this.#tally.opens += 1;
    try {
      const candidates = this.#table.contentsOf(tag.path);
      use(fd, { witness: new Witness(this.#bytes, candidates), opened: Date.now(), suspect: undefined });
    } catch (error) {
      this.#note(error);
    } finally {
      try {
        closeSync(fd);
      } catch (error) {
        this.#note(error);
      }
    }
  }

  /** A registry that cannot be asked is an error: only where nothing is mounted may an image be missing. */
  #checkAbsence({ path, isStable }: ReadTag, error: unknown, wasMounted: boolean): void {
    if (codeOf(error) !== 'ENOENT' || !isStable || !wasMounted || !this.#isMounted()) return;
    try {
      if (isThereAgain(join(this.#task.mountpoint, path))) return;
    } catch {
      return;
    }
    if (!this.#isMounted()) return;
    const now = Date.now();
    emit({
      finding: { kind: 'absent', path, detail: 'ENOENT of an image that exists', opened: now, read: now },
    });
  }

  #isMounted(): boolean {
    return isMountedAt(this.#task.mountpoint);
  }

  #find(kind: Finding['kind'], { path }: ReadTag, { opened }: OpenFile, mismatch: Mismatch): void {
    const detail = `at byte ${mismatch.offset}: found ${mismatch.found}; expected ${mismatch.expected}`;
    emit({ finding: { kind, path, detail, opened, read: Date.now() } });
  }

  #note(error: unknown): void {
    const code = codeOf(error);
    this.#tally.errors[code] = (this.#tally.errors[code] ?? 0) + 1;
    // Where nothing answers, do not ask a thousand times a second.
    pause(PAUSE);
  }

  #tell(force: boolean): void {
    if (!force && Date.now() - this.#told < TALLY_INTERVAL) return;
    this.#told = Date.now();
    emit({ tally: this.#tally });
    this.#tally = emptyTally();
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

interface OpenFile {
  readonly witness: Witness;
  readonly opened: number;
  /** A flipped bit that was met. */
  suspect: Mismatch | undefined;
}

const [task] = process.argv.slice(2);
if (task !== undefined) new Reader(JSON.parse(task)).run();
