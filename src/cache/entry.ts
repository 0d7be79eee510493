/**
 * One image revision on local disk: a sparse data file as long as the image, the map of the blocks in it with their
 * checksums, and `entry.json`, which says for people and for a lost index what the bytes belong to. Nothing here knows
 * where bytes come from.
 *
 * Other programs may have changed the files: a purge of old files cuts, empties or removes them. Opening checks an entry
 * without reading it. A damaged entry is moved away and made anew. After that, the first read of each block compares the block
 * with its checksum. This is not needed in a whole image that, by the kernel's time of its last change, nobody has changed
 * since it was compared with its digest.
 *
 * Every use of a descriptor is counted: closing waits for those under way and refuses more.
 */
import { fdatasync, fstatSync, read, type Stats, statSync, writev } from 'node:fs';
import { promisify } from 'node:util';
import { SregistryError } from '../base/errors.ts';
import { copyFile } from '../base/files.ts';
import { sha256File } from '../base/hash.ts';
import type { Presence } from '../catalog/cache-claims.ts';
import { BLOCK_SIZE, type BlockMap, blocksOf, checksum } from './block-map.ts';
import { BlockWriter } from './block-writer.ts';
import {
  closeFiles,
  createFiles,
  type EntryDescription,
  type EntryFiles,
  openFiles,
  rangeOf,
} from './entry-files.ts';
import { InFlight } from './in-flight.ts';
import { entryFolder } from './location.ts';
import { detach } from './trash.ts';

const readAt = promisify(read);
const writeAt = promisify(writev);
const syncData = promisify(fdatasync);

/** Blocks read at once when all are compared. */
const CHECK_BLOCKS = 16;

/** Blocks are marked as present, but their bytes are not there. */
export class LostBlocksError extends SregistryError {
  readonly blocks: readonly number[];

  constructor(path: string, blocks: readonly number[]) {
    super(
      'CORRUPT',
      `${path} lost bytes that its map says it has: ${blocks.length} blocks from ${blocks[0]} on`,
    );
    this.blocks = blocks;
  }
}

export class Entry implements Presence {
  readonly size: number;
  readonly map: BlockMap;
  readonly path: string;
  readonly #fd: number;
  readonly #stats: Stats;
  /** One byte a block: 1 once its bytes were compared with their checksum. */
  readonly #checked: Uint8Array;
  readonly #calls: InFlight;

  private constructor({ path, fd, map }: EntryFiles, size: number) {
    this.path = path;
    this.size = size;
    this.map = map;
    this.#fd = fd;
    this.#stats = fstatSync(fd);
    this.#checked = new Uint8Array(map.blocks);
    this.#calls = new InFlight(path);
  }

  /**
   * Opens the entry of this key. A damaged entry goes into the trash, and an empty one replaces it. The caller makes sure that
   * no other process does so at the same time.
   */
  static open(root: string, key: string, description: EntryDescription): Entry {
    const folder = entryFolder(root, key);
    const existing = Entry.openExisting(folder, description.size);
    if (existing !== undefined) return existing;
    void detach(root, key);
    createFiles(folder, description);
    const made = Entry.openExisting(folder, description.size);
    if (made === undefined)
      throw new SregistryError('SERVICE', `${folder} does not keep what is written to it`);
    return made;
  }

  /** Opens an existing entry. Undefined if its files are missing or damaged. */
  static openExisting(folder: string, size: number): Entry | undefined {
    const files = openFiles(folder, size);
    return files && new Entry(files, size);
  }

  /** Bytes present, counted in whole blocks, as of the last look at the map. */
  get bytes(): number {
    return this.map.present * BLOCK_SIZE;
  }

  presentBytes(): number {
    if (!this.#calls.isClosed) this.map.refresh();
    return this.bytes;
  }

  absentBytes(first: number, last: number): number {
    return this.map.countAbsent(first, last) * BLOCK_SIZE;
  }

  isCurrent(): boolean {
    const found = statSync(this.path, { throwIfNoEntry: false });
    return found?.ino === this.#stats.ino && found.dev === this.#stats.dev;
  }

  /** Names this copy of the revision: one that takes its place has another. */
  get id(): string {
    const { dev, ino, birthtimeMs } = this.#stats;
    return `${dev}.${ino}.${birthtimeMs}`;
  }

  /** Changes whenever anybody changes bytes of the data file: the kernel's time of its last change. */
  stamp(): string {
    return String(fstatSync(this.#fd, { bigint: true }).ctimeNs);
  }

  /** Reads present bytes. Throws {@link LostBlocksError} where they do not have their checksum. */
  read(target: Uint8Array, offset: number, length: number): Promise<void> {
    return this.#calls.run(async () => {
      const { first, last } = blocksOf(offset, length);
      if (this.#allChecked(first, last)) {
        if ((await this.#fill(target, offset, length)) === length) return;
        // The file was cut while it is open: blocks that were compared before may be gone as well.
        this.#checked.fill(0);
        throw new LostBlocksError(this.path, rangeOf(first, last));
      }
      const start = first * BLOCK_SIZE;
      const end = Math.min(this.size, (last + 1) * BLOCK_SIZE);
      const isAligned = start === offset && end === offset + length;
      const whole = isAligned ? target.subarray(0, length) : Buffer.allocUnsafe(end - start);
      await this.#readChecked(first, last, whole);
      if (!isAligned) target.set(whole.subarray(offset - start, offset - start + length));
    });
  }

  /** Are all of these blocks present, and were they compared? */
  knows(first: number, last: number): boolean {
    return this.map.hasAll(first, last) && this.#allChecked(first, last);
  }

  /**
   * Reads bytes of blocks that it {@link knows}. Calls `done` with their number, or with undefined if not all could be read:
   * {@link read} tells why.
   */
  readKnown(
    target: Uint8Array,
    offset: number,
    length: number,
    done: (count: number | undefined) => void,
  ): void {
    this.#calls.enter();
    read(this.#fd, target, 0, length, offset, (error, count) => {
      this.#calls.leave();
      done(error === null && count === length ? count : undefined);
    });
  }

  /** Compares every present block that was not read yet with its checksum. Returns the bad blocks. */
  async check(signal?: AbortSignal): Promise<number[]> {
    const bad: number[] = [];
    const buffer = Buffer.allocUnsafe(CHECK_BLOCKS * BLOCK_SIZE);
    for (let first = 0; first < this.map.blocks; first += CHECK_BLOCKS) {
      signal?.throwIfAborted();
      const last = Math.min(this.map.blocks, first + CHECK_BLOCKS) - 1;
      if (this.#allChecked(first, last)) continue;
      const present = rangeOf(first, last).filter((block) => this.map.has(block));
      await this.#calls
        .run(() => this.#readChecked(first, last, buffer))
        .catch((error: unknown) => {
          if (!(error instanceof LostBlocksError)) throw error;
          bad.push(...error.blocks.filter((block) => present.includes(block)));
        });
    }
    return bad;
  }

  /** Notes that all blocks are right: the image was compared with its digest, and not changed since. */
  trustAll(): void {
    this.#checked.fill(1);
  }

  /** The next read of each block compares it with its checksum again. */
  distrustAll(): void {
    this.#checked.fill(0);
  }

  /** Forgets blocks whose bytes are not there. */
  forget(blocks: readonly number[]): void {
    this.#calls.check();
    for (const block of blocks) {
      this.map.clear(block, block);
      this.#checked[block] = 0;
    }
  }

  /** Takes the bytes of the image from block `first` on, in order. */
  writer(first: number): BlockWriter {
    return new BlockWriter(this, first);
  }

  /** Writes chunks that follow each other; the caller marks the blocks they complete. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    return this.#calls.run(async () => {
      let rest = chunks;
      for (let at = offset; rest.length > 0; ) {
        const { bytesWritten } = await writeAt(this.#fd, rest, at);
        at += bytesWritten;
        rest = behind(rest, bytesWritten);
      }
    });
  }

  /** Marks blocks from `first` on, whose bytes were written, by their checksums. */
  mark(first: number, sums: readonly number[]): void {
    this.#calls.check();
    this.map.mark(first, sums);
    // These bytes went through this process: what it would read back is what it has just compared.
    this.#checked.fill(1, first, first + sums.length);
  }

  /** Learns what other processes have marked or cleared in `first..last`. */
  refresh(first: number, last: number): void {
    this.#calls.check();
    this.map.refresh(first, last);
  }

  /** `sha256:<64 hex>` of the open data file, even if its name leads to another file by now. */
  sha256(signal: AbortSignal): Promise<string> {
    return this.#calls.run(() => sha256File(this.#opened, { signal }));
  }

  /**
   * Copies the open data file to the new file `file`, even if its name leads to another file by now. Shares its blocks if
   * possible.
   */
  copyTo(file: string): Promise<void> {
    return this.#calls.run(() => copyFile(this.#opened, file));
  }

  /** Syncs the data file, so that its bytes survive a crash of the machine. */
  sync(): Promise<void> {
    return this.#calls.run(() => syncData(this.#fd));
  }

  /** Waits for reads and writes under way, then closes the files. */
  async close(): Promise<void> {
    if (this.#calls.isClosed) return this.#calls.close();
    await this.#calls.close();
    closeFiles(this.#fd, this.map);
  }

  /** A path of the data file that stays valid when the file loses its name. */
  get #opened(): string {
    return `/proc/self/fd/${this.#fd}`;
  }

  #allChecked(first: number, last: number): boolean {
    for (let block = first; block <= last; block += 1) if (this.#checked[block] === 0) return false;
    return true;
  }

  async #readChecked(first: number, last: number, target: Uint8Array): Promise<void> {
    const start = first * BLOCK_SIZE;
    const length = Math.min(this.size, (last + 1) * BLOCK_SIZE) - start;
    const got = await this.#fill(target, start, length);
    const bad: number[] = [];
    for (const block of rangeOf(first, last)) {
      const from = (block - first) * BLOCK_SIZE;
      const bytes = target.subarray(from, Math.min(length, from + BLOCK_SIZE));
      const isRight = from + bytes.length <= got && this.map.matches(block, checksum(bytes));
      if (isRight) this.#checked[block] = 1;
      else bad.push(block);
    }
    if (bad.length > 0) throw new LostBlocksError(this.path, bad);
  }

  /** Reads up to `length` bytes. Returns how many there were. */
  async #fill(target: Uint8Array, offset: number, length: number): Promise<number> {
    let done = 0;
    while (done < length) {
      const { bytesRead } = await readAt(this.#fd, target, done, length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }
}

/** What is left of chunks behind their first `count` bytes. */
function behind(chunks: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let skip = count;
  return chunks.flatMap((chunk) => {
    const rest = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - rest.length;
    return rest.length === 0 ? [] : [rest];
  });
}
