/**
 * Reads the ztocs of SOCI (github.com/awslabs/soci-snapshotter: ztoc/fbs/ztoc.fbs, ztoc/compression/gzip_zinfo.c): what is in the
 * archive of a layer, and from where it can be decompressed. A ztoc comes from strangers.
 */
import { malformed } from '../binary.ts';
import type { EntryAttributes, LayerEntry } from './entry.ts';
import { FlatTable } from './flatbuffer.ts';
import { beyondLimit, LAYER_LIMITS, type LayerLimits } from './limits.ts';
import { paxXattrs } from './pax.ts';
import { MAX_SPAN_SIZE } from './points.ts';
import { WINDOW_SIZE } from './restart.ts';

/** A place from which the archive can be decompressed. */
export interface Checkpoint {
  /** Bytes of the archive before it. */
  readonly offset: number;
  /** The first byte of the blob that belongs to it. Of that byte, only the highest `bits` do, if these are not 0. */
  readonly from: number;
  readonly bits: number;
  /** The bytes of the archive before it; undefined if the blob is not compressed. */
  readonly window: Uint8Array | undefined;
  /** `sha256:<64 hex>` of its bytes of the blob. */
  readonly digest: string;
}

export interface Ztoc {
  readonly entries: readonly LayerEntry[];
  readonly checkpoints: readonly Checkpoint[];
  /** Bytes of the blob. */
  readonly storedSize: number;
  /** Fewest bytes of the archive: up to its end, without what is behind that. */
  readonly leastSize: number;
}

/** Fields of the tables, in the order of the schema. */
const ZTOC = { compressedSize: 2, uncompressedSize: 3, toc: 4, compression: 5 };
const TOC = { metadata: 0 };
const COMPRESSION = { algorithm: 0, maxSpanId: 1, digests: 2, checkpoints: 3 };
const FILE = {
  name: 0,
  type: 1,
  offset: 2,
  size: 3,
  target: 4,
  mode: 5,
  uid: 6,
  gid: 7,
  modified: 10,
  major: 11,
  minor: 12,
  records: 13,
};
const RECORD = { key: 0, value: 1 };
const TAR_ZINFO = { spanSize: 1, size: 2 };
const GZIP = 1;
const UNCOMPRESSED = 2;

/** gzip_zinfo.h: the header of checkpoints (their number, and the size of a span), and one of them. */
const HEADER_SIZE = 4 + 8;
const CHECKPOINT_SIZE = 8 + 8 + 1 + WINDOW_SIZE;
/** Where the data of a gzip file begins, without further fields in its header. */
const GZIP_HEADER = 10;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** RFC 3339. The fraction adds to the time, also before 1970, so without it the time is rounded down. */
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$/;
/** What the headers of one entry cost besides names. */
const ENTRY_COST = 64;

/**
 * @throws {SregistryError} NOT_AN_IMAGE if it is malformed, or tells too little of the archive; NOT_PRESENTABLE beyond a limit.
 */
export function parseZtoc(bytes: Buffer, limits: LayerLimits = LAYER_LIMITS): Ztoc {
  const root = FlatTable.root(bytes);
  const [toc, compression] = [root.table(ZTOC.toc), root.table(ZTOC.compression)];
  if (toc === undefined || compression === undefined) throw malformed('the ztoc lacks a table');
  const storedSize = root.size(ZTOC.compressedSize);
  const leastSize = root.size(ZTOC.uncompressedSize);
  if (leastSize > limits.size) throw beyondLimit(`the ztoc claims an archive of ${leastSize} bytes`);
  const checkpoints = readCheckpoints(compression, storedSize, leastSize);
  return { entries: readEntries(toc, leastSize, limits), checkpoints, storedSize, leastSize };
}

function readCheckpoints(compression: FlatTable, storedSize: number, leastSize: number): Checkpoint[] {
  const packed = compression.bytes(COMPRESSION.checkpoints);
  const digests = [...compression.texts(COMPRESSION.digests)];
  const places = placesOf(compression.byte(COMPRESSION.algorithm, GZIP), packed, digests.length);
  if (digests.length !== places.length || compression.int32(COMPRESSION.maxSpanId) !== places.length - 1)
    throw malformed('the ztoc has other digests than spans');
  return places.map((place, i): Checkpoint => {
    const digest = digests[i] as string;
    if (!DIGEST.test(digest)) throw malformed('the ztoc has a span without a sha256');
    const next = places[i + 1] ?? { offset: leastSize, from: storedSize, bits: 0 };
    const [length, stored] = [next.offset - place.offset, next.from - place.from];
    if ((i === 0 && place.offset !== 0) || place.bits > 7 || place.from < 0)
      throw malformed('the ztoc has an impossible checkpoint');
    if (length < 0 || stored < 1 || length > MAX_SPAN_SIZE || stored > MAX_SPAN_SIZE)
      throw malformed('the ztoc has a span of an impossible size');
    return { ...place, digest };
  });
}

/** @param count of the digests: whatever the packed places claim, only as many spans are made. */
function placesOf(algorithm: number, packed: Buffer, count: number): Omit<Checkpoint, 'digest'>[] {
  if (algorithm === UNCOMPRESSED) {
    const zinfo = FlatTable.root(packed);
    const [spanSize, size] = [zinfo.size(TAR_ZINFO.spanSize), zinfo.size(TAR_ZINFO.size)];
    if (spanSize < 1 || Math.ceil(size / spanSize) !== count)
      throw malformed('the ztoc has other digests than spans');
    const offsets = Array.from({ length: count }, (_, i) => i * spanSize);
    return offsets.map((offset) => ({ offset, from: offset, bits: 0, window: undefined }));
  }
  if (algorithm !== GZIP) throw malformed('the ztoc is for an unknown compression');
  if (packed.length < HEADER_SIZE) throw malformed('the ztoc has no checkpoints');
  const claimed = packed.readInt32LE();
  const stored = (packed.length - HEADER_SIZE) / CHECKPOINT_SIZE;
  // The first version left out the first checkpoint, as it is behind the shortest header.
  const isFirstVersion = stored === claimed - 1;
  if (claimed < 1 || (stored !== claimed && !isFirstVersion))
    throw malformed('the ztoc has other checkpoints than it says');
  const first = { offset: 0, from: GZIP_HEADER, bits: 0, window: new Uint8Array(WINDOW_SIZE) };
  const places = Array.from({ length: stored }, (_, i) =>
    checkpointAt(packed, HEADER_SIZE + i * CHECKPOINT_SIZE),
  );
  return isFirstVersion ? [first, ...places] : places;
}

function checkpointAt(packed: Buffer, at: number): Omit<Checkpoint, 'digest'> {
  const [whole, offset] = [Number(packed.readBigInt64LE(at)), Number(packed.readBigInt64LE(at + 8))];
  const bits = packed.readUInt8(at + 16);
  if (![whole, offset].every(Number.isSafeInteger)) throw malformed('the ztoc has an impossible checkpoint');
  const window = packed.subarray(at + 17, at + CHECKPOINT_SIZE);
  return { offset, from: bits === 0 ? whole : whole - 1, bits, window };
}

function readEntries(toc: FlatTable, size: number, limits: LayerLimits): LayerEntry[] {
  if (toc.count(TOC.metadata) > limits.entries)
    throw beyondLimit(`the ztoc has more than ${limits.entries} entries`);
  const entries: { readonly at: number; readonly entry: LayerEntry }[] = [];
  let metadata = 0;
  for (const file of toc.tables(TOC.metadata)) {
    const entry = entryOf(file, size, limits);
    metadata += ENTRY_COST + JSON.stringify(entry).length;
    if (metadata > limits.metadata)
      throw beyondLimit(`the ztoc has more than ${limits.metadata} bytes of names`);
    entries.push({ at: file.size(FILE.offset), entry });
  }
  // In the order of the archive: each entry has a header, so no two are at one place.
  return entries.sort((a, b) => a.at - b.at).map(({ entry }) => entry);
}

function entryOf(file: FlatTable, archive: number, limits: LayerLimits): LayerEntry {
  const attributes = attributesOf(file);
  switch (file.text(FILE.type)) {
    case 'reg': {
      const [offset, size] = [file.size(FILE.offset), file.size(FILE.size)];
      if (size > limits.fileSize) throw beyondLimit(`the ztoc claims a file of ${size} bytes`);
      if (offset + size > archive) throw malformed('the ztoc has a file beyond the end of the archive');
      return { type: 'file', ...attributes, size, offset };
    }
    case 'dir':
      return { type: 'directory', ...attributes };
    case 'symlink':
      return { type: 'symlink', ...attributes, target: textOf(file, FILE.target) };
    case 'hardlink':
      return { type: 'hard-link', ...attributes, target: textOf(file, FILE.target) };
    case 'fifo':
      return { type: 'fifo', ...attributes };
    case 'char':
      return { type: 'character-device', ...attributes, ...deviceOf(file) };
    case 'block':
      return { type: 'block-device', ...attributes, ...deviceOf(file) };
    default:
      throw malformed('the ztoc has an entry of an unknown type');
  }
}

function attributesOf(file: FlatTable): EntryAttributes {
  const records = new Map<string, string>();
  for (const record of file.tables(FILE.records))
    records.set(record.text(RECORD.key), record.text(RECORD.value));
  // The ztoc does not say where the holes of a file are.
  if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.')))
    throw malformed('the ztoc has a sparse file');
  const xattrs = paxXattrs(records);
  const [, time = '', zone = ''] = TIME.exec(file.text(FILE.modified)) ?? [];
  const modified = Date.parse(time + zone) / 1000;
  if (!Number.isSafeInteger(modified)) throw malformed('the ztoc has an entry of an impossible time');
  return {
    path: textOf(file, FILE.name),
    mode: file.size(FILE.mode) % 0o10000,
    uid: file.uint32(FILE.uid),
    gid: file.uint32(FILE.gid),
    modified,
    ...(xattrs && { xattrs }),
  };
}

function textOf(file: FlatTable, field: number): string {
  const text = file.text(field);
  if (text.includes('\0')) throw malformed('the ztoc has a NUL in a name');
  return text;
}

function deviceOf(file: FlatTable): { major: number; minor: number } {
  const [major, minor] = [file.size(FILE.major), file.size(FILE.minor)];
  if (major > 0xfff || minor > 0xfffff)
    throw malformed(`the ztoc has an impossible device: ${major}, ${minor}`);
  return { major, minor };
}
