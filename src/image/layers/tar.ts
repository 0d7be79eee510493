/**
 * Reads the index of a tar archive while it streams by: what each entry is and where its contents lie. tar-stream tells
 * offsets too, but knows no sparse files and takes the values of pax records for UTF-8, which breaks capabilities. So this is our
 * own reader. It takes what Go's archive/tar takes, as the tools that make layers and those that unpack them use that.
 *
 * {@link TarIndexer} is pushed chunks of any size and keeps only what it needs of them, so it can sit between a download and a
 * file. Where the archive is a file already, {@link indexTar} reads its headers and skips the rest.
 */
import { malformed } from '../binary.ts';
import type { ByteSource } from '../source.ts';
import type { EntryAttributes, LayerEntry, SparseRange } from './entry.ts';
import { beyondLimit, LAYER_LIMITS, type LayerLimits } from './limits.ts';
import { type PaxRecords, parsePax, paxNumber, paxText, paxXattrs } from './pax.ts';
import { LineMap, readExtension, readHeaderMap, readTextMap, SparseMap } from './sparse.ts';
import { BLOCK, isZeroBlock, parseHeader, type TarHeader, textAt, type Where } from './tar-header.ts';

/** Bytes of a pax header or long name; as in Go, which refuses more. */
const MAX_SPECIAL = 1024 * 1024;
const MAX_ID = 0xffffffff;
/** What an entry counts for beyond its strings. */
const ENTRY_COST = 64;
/** What a record of a global header counts for, at each entry that it is looked at for. */
const RECORD_COST = 16;
/** Bytes that {@link indexTar} reads at a time: headers of small files lie together, the one behind a large file stands alone. */
const READ_SIZE = 256 * 1024;
const READ_SIZE_BEHIND_LARGE = 8 * 1024;
const LARGE = 32 * 1024;

const NO_RECORDS: PaxRecords = new Map();

export class TarIndexer {
  /** What was found so far, in the archive's order. */
  readonly entries: LayerEntry[] = [];
  readonly #name: string;
  readonly #limits: LayerLimits;
  /** Offset of the first byte that no step has taken. */
  #position = 0;
  /** Bytes to pass over, and how many of them at the end are padding, which the end of an archive may lack. */
  #skip = 0;
  #padding = 0;
  /** Bytes that the next step needs, those of them that came already, and the step. */
  #need = BLOCK;
  #carry: Buffer | undefined;
  #carried = 0;
  readonly #onHeader = (bytes: Buffer) => this.#header(bytes);
  #step: (bytes: Buffer) => void = this.#onHeader;
  #isDone = false;
  #wasZero = false;
  #metadata = 0;
  /** Of the headers since the last entry. */
  #headerAt: number | undefined;
  #records = NO_RECORDS;
  #longName: string | undefined;
  #longLink: string | undefined;
  #globals = NO_RECORDS;

  /** @param name names the archive in errors: `Layer 3`. */
  constructor(name: string, limits: LayerLimits = LAYER_LIMITS) {
    this.#name = name;
    this.#limits = limits;
  }

  /** Bytes of the archive so far. */
  get position(): number {
    return this.#position + this.#carried;
  }

  /** Has the archive's own mark of its end come? What follows is ignored. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Bytes behind `position` that need not be read: {@link skip} passes over them. */
  get skippable(): number {
    return this.#skip;
  }

  /** Passes over bytes of contents without their being pushed. @param length at most `skippable`. */
  skip(length: number): void {
    this.#skip -= length;
    this.#advance(length);
  }

  /**
   * The next bytes of the archive; they are not kept.
   * @throws {SregistryError} NOT_AN_IMAGE if the archive is damaged, NOT_PRESENTABLE if it goes beyond a limit. The indexer
   *   is of no use afterwards.
   */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < chunk.length; ) {
      const left = chunk.length - at;
      if (this.#isDone) {
        this.#advance(left);
        return;
      }
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, left);
        this.skip(passed);
        at += passed;
        continue;
      }
      if (this.#carry === undefined && left >= this.#need) {
        const whole = chunk.subarray(at, at + this.#need);
        at += this.#need;
        this.#take(whole);
        continue;
      }
      this.#carry ??= Buffer.alloc(this.#need);
      const part = chunk.subarray(at, at + this.#need - this.#carried);
      this.#carry.set(part, this.#carried);
      this.#carried += part.length;
      at += part.length;
      if (this.#carried < this.#need) return;
      const whole = this.#carry;
      this.#carry = undefined;
      this.#carried = 0;
      this.#take(whole);
    }
  }

  /**
   * Nothing follows. An archive may end without the mark of its end and without the padding of its last file.
   * @throws {SregistryError} NOT_AN_IMAGE if it ends within an entry.
   */
  end(): readonly LayerEntry[] {
    const isWhole = this.#skip <= this.#padding && this.#carried === 0 && this.#headerAt === undefined;
    if (!this.#isDone && !isWhole)
      throw malformed(`${this.#name} ends inside an entry, after ${this.position} bytes`);
    return this.entries;
  }

  readonly #where = () => `${this.#name}: the header at ${this.#headerAt ?? this.#position}`;

  #advance(length: number): void {
    this.#position += length;
    if (this.#position > this.#limits.size)
      throw beyondLimit(`${this.#name} has more than ${this.#limits.size} bytes`);
  }

  #take(bytes: Buffer): void {
    const at = this.#position;
    if (this.#step === this.#onHeader) this.#headerAt ??= at;
    this.#advance(bytes.length);
    this.#step(bytes);
  }

  /** What comes next: `step` gets `need` bytes, after what is to skip. */
  #expect(need: number, step: (bytes: Buffer) => void): void {
    this.#need = need;
    this.#step = step;
  }

  #header(block: Buffer): void {
    if (isZeroBlock(block)) {
      this.#isDone = this.#wasZero;
      this.#wasZero = true;
      if (this.#records === NO_RECORDS && this.#longName === undefined && this.#longLink === undefined)
        this.#headerAt = undefined;
      return;
    }
    if (this.#wasZero)
      throw malformed(`${this.#name} goes on behind a block of zeros, at ${this.#position - BLOCK}`);
    const header = parseHeader(block, this.#where);
    if (header.size < 0) throw malformed(`${this.#where()} gives an impossible size`);
    switch (header.type) {
      case 'x':
      case 'g':
      case 'L':
      case 'K':
        this.#special(header);
        break;
      default:
        this.#entry(header, block);
    }
  }

  /** A header whose data is about the entries that follow. */
  #special({ type, size }: TarHeader): void {
    if (size > MAX_SPECIAL) throw beyondLimit(`${this.#where()} claims ${size} bytes of metadata`);
    this.#count(size);
    const done = (bytes: Buffer) => {
      const data = bytes.subarray(0, size);
      if (type === 'x') this.#records = parsePax(data, this.#where);
      else if (type === 'g') this.#addGlobals(parsePax(data, this.#where));
      else if (type === 'L') this.#longName = textAt(data, 0, size);
      else this.#longLink = textAt(data, 0, size);
      if (type === 'g') this.#headerAt = undefined;
      this.#expect(BLOCK, this.#onHeader);
    };
    if (size === 0) done(Buffer.alloc(0));
    else this.#expect(size + paddingOf(size), done);
  }

  #addGlobals(records: PaxRecords): void {
    this.#globals = new Map([...this.#globals, ...records]);
    this.#count([...this.#globals].reduce((sum, [key, value]) => sum + key.length + value.length, 0));
  }

  #entry(header: TarHeader, block: Buffer): void {
    const where = this.#where;
    this.#count(this.#globals.size * RECORD_COST);
    const records = this.#globals.size === 0 ? this.#records : new Map([...this.#globals, ...this.#records]);
    const size = paxNumber(records, 'size', where) ?? header.size;
    if (size < 0) throw malformed(`${where()} gives an impossible size`);
    if (header.type === 'S') this.#gnuSparse(header, records, size, block);
    else if (!isFileType(header.type)) this.#finish(header, records, size);
    else this.#paxSparse(header, records, size);
  }

  #gnuSparse(header: TarHeader, records: PaxRecords, stored: number, block: Buffer): void {
    const map = new SparseMap(this.#where, this.#count);
    const { size, more } = readHeaderMap(block, map, this.#where);
    const finish = () => this.#finish(header, records, stored, { size, ranges: map.finish(size, stored) });
    const extension = (bytes: Buffer) => {
      this.#count(BLOCK);
      if (!readExtension(bytes, map, this.#where)) finish();
    };
    if (more) this.#expect(BLOCK, extension);
    else finish();
  }

  /** A file of which pax records may say that it is sparse. */
  #paxSparse(header: TarHeader, records: PaxRecords, stored: number): void {
    const where = this.#where;
    const size =
      paxNumber(records, 'GNU.sparse.realsize', where) ?? paxNumber(records, 'GNU.sparse.size', where);
    if (size === undefined) {
      this.#finish(header, records, stored);
      return;
    }
    const map = new SparseMap(where, this.#count);
    if (records.get('GNU.sparse.major') !== '1') {
      readTextMap(records.get('GNU.sparse.map') ?? '', map, where);
      this.#finish(header, records, stored, { size, ranges: map.finish(size, stored) });
      return;
    }
    const lines = new LineMap(map, where);
    let left = stored;
    this.#expect(BLOCK, (bytes) => {
      left -= BLOCK;
      if (left < 0) throw malformed(`${where()} has a map of a sparse file that does not end`);
      this.#count(BLOCK);
      if (lines.take(bytes)) this.#finish(header, records, left, { size, ranges: map.finish(size, left) });
    });
  }

  /** Adds the entry, and passes over its `stored` bytes of contents. */
  #finish(header: TarHeader, records: PaxRecords, stored: number, sparse?: Sparse): void {
    const where = this.#where;
    const hasData = !HEADER_ONLY.has(header.type);
    const entry = this.#toEntry(header, records, where, hasData ? stored : 0, sparse);
    this.#count(ENTRY_COST + entry.path.length + ('target' in entry ? entry.target.length : 0));
    if (this.entries.length >= this.#limits.entries)
      throw beyondLimit(`${this.#name} has more than ${this.#limits.entries} entries`);
    this.entries.push(entry);
    this.#padding = hasData ? paddingOf(stored) : 0;
    this.#skip = hasData ? stored + this.#padding : 0;
    this.#records = NO_RECORDS;
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#headerAt = undefined;
    this.#expect(BLOCK, this.#onHeader);
  }

  #toEntry(
    header: TarHeader,
    records: PaxRecords,
    where: Where,
    stored: number,
    sparse?: Sparse,
  ): LayerEntry {
    const path =
      this.#longName ??
      paxText(records, 'GNU.sparse.name', where) ??
      paxText(records, 'path', where) ??
      header.name;
    const xattrs = paxXattrs(records);
    const attributes: { -readonly [K in keyof EntryAttributes]: EntryAttributes[K] } = {
      path,
      mode: header.mode & 0o7777,
      uid: checkId(paxNumber(records, 'uid', where) ?? header.uid, where),
      gid: checkId(paxNumber(records, 'gid', where) ?? header.gid, where),
      modified: paxNumber(records, 'mtime', where) ?? header.modified,
    };
    if (xattrs !== undefined) attributes.xattrs = xattrs;
    const target = this.#longLink ?? paxText(records, 'linkpath', where) ?? header.link;
    switch (header.type) {
      case '\0':
      case '0':
      case '7':
      case 'S': {
        // Old archives have no type for directories.
        if (path.endsWith('/') && header.type === '\0') return { type: 'directory', ...attributes };
        const size = sparse?.size ?? stored;
        if (size > this.#limits.fileSize) throw beyondLimit(`${where()} claims a file of ${size} bytes`);
        const offset = this.#position;
        if (sparse !== undefined) return { type: 'file', ...attributes, size, offset, ranges: sparse.ranges };
        // Nearly all entries are such files; without the spread they cost half.
        const { mode, uid, gid, modified } = attributes;
        if (xattrs === undefined) return { type: 'file', path, mode, uid, gid, modified, size, offset };
        return { type: 'file', ...attributes, size, offset };
      }
      case '1':
        return { type: 'hard-link', ...attributes, target };
      case '2':
        return { type: 'symlink', ...attributes, target };
      case '3':
      case '4': {
        const { major, minor } = header;
        if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
          throw malformed(`${where()} gives an impossible device: ${major}, ${minor}`);
        return {
          type: header.type === '3' ? 'character-device' : 'block-device',
          ...attributes,
          major,
          minor,
        };
      }
      case '5':
        return { type: 'directory', ...attributes };
      case '6':
        return { type: 'fifo', ...attributes };
      default:
        throw malformed(`${where()} has the unknown type ${JSON.stringify(header.type)}`);
    }
  }

  readonly #count = (bytes: number): void => {
    this.#metadata += bytes;
    if (this.#metadata > this.#limits.metadata)
      throw beyondLimit(`${this.#name} has more than ${this.#limits.metadata} bytes of names and attributes`);
  };
}

interface Sparse {
  readonly size: number;
  readonly ranges: readonly SparseRange[];
}

/** Types without contents, whatever their size says. */
const HEADER_ONLY: ReadonlySet<string> = new Set(['1', '2', '3', '4', '5', '6']);

function isFileType(type: string): boolean {
  return type === '\0' || type === '0' || type === '7';
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function checkId(id: number, where: Where): number {
  if (id < 0 || id > MAX_ID) throw malformed(`${where()} gives an impossible user or group: ${id}`);
  return id;
}

/**
 * The entries of an archive that is all there; reads little more than its headers.
 * @param name names the archive in errors.
 * @throws {SregistryError} as {@link TarIndexer}; and errors of the source.
 */
export async function indexTar(
  source: ByteSource,
  name: string,
  limits: LayerLimits = LAYER_LIMITS,
): Promise<readonly LayerEntry[]> {
  const indexer = new TarIndexer(name, limits);
  while (!indexer.isDone && indexer.position < source.size) {
    const passed = Math.min(indexer.skippable, source.size - indexer.position);
    indexer.skip(passed);
    const length = passed > LARGE ? READ_SIZE_BEHIND_LARGE : READ_SIZE;
    const chunk = await source.read(indexer.position, length);
    if (chunk.length === 0) break;
    indexer.push(chunk);
  }
  return indexer.end();
}
