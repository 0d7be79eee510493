/**
 * Where a layer has its table of contents, and the fetch of it. Two forms of layers have one:
 *
 * - eStargz (stargz-snapshotter, docs/estargz.md): the archive is members of gzip. The last file in it is the table; a footer of 51 bytes
 *   says where its member begins. The manifest has the table's digest.
 * - zstd:chunked (containers/storage, pkg/chunked/internal/minimal/compression.go): the archive is frames of zstd. The table is in a frame
 *   that decompressors skip. The manifest has its place, its sizes and the digest of its compressed form.
 *
 * Whether a layer is read by its table follows from the manifest, the blob and the table, so that an image is the same bytes
 * everywhere. A tool that compresses a layer anew may keep its annotations: the blob has no table then, as its {@link markOf | mark}
 * shows.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { createGunzip, zstdDecompress } from 'node:zlib';
import { isError, SregistryError, systemCode } from '../../base/errors.ts';
import type { Packing } from './chunks.ts';
import { BLOCK, parseHeader } from './tar-header.ts';

/** What the manifest says of the table of a layer; plain JSON. */
export interface TocPlace {
  readonly packing: Packing;
  /** `sha256:<hex>`: of the table with gzip, of its compressed form with zstd. */
  readonly digest: string;
  /** Of zstd: the place of the compressed form in the blob, its bytes, and those of the table. */
  readonly range?: { readonly offset: number; readonly length: number; readonly size: number };
}

/** The table of a layer, as its digest confirmed it. */
export interface Toc {
  readonly json: Buffer;
  /** Where the table begins in the blob: no chunk reaches beyond. */
  readonly offset: number;
}

/** The bytes of a blob from `offset`, exactly `length`. */
export type ReadPart = (offset: number, length: number) => Promise<Buffer>;

const STARGZ = 'containerd.io/snapshot/stargz/toc.digest';
/** containers/storage writes the first, stargz-snapshotter the second. */
const CHUNKED = ['io.github.containers.zstd-chunked.', 'io.containers.zstd-chunked.'];
const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** `<offset>:<length>:<length uncompressed>:<type>`; type 1 is the table that both forms have. */
const POSITION = /^(\d{1,15}):(\d{1,15}):(\d{1,15}):1$/;

/** Bytes of the largest table that is used; as text it is about half a million files. */
const MAX_TOC = 128 * 1024 * 1024;
const FOOTER_SIZE = 51;
/** The footer, but for the 16 digits of the offset. */
const FOOTER_HEAD = Buffer.from('1f8b08040000000000ff1a0053471600', 'hex');
const FOOTER_TAIL = Buffer.from('STARGZ\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00', 'latin1');
const OFFSET_DIGITS = 16;
/** How a footer of 46 bytes ends that says that another image has the table. */
const EXTERNAL_FOOTER = 46;
const EXTERNAL = 'STARGZEXTERNALTOC';
/** What a frame begins with that decompressors skip: this number, and its bytes as 32 bits. RFC 8878, 3.1.2. */
const SKIPPABLE_HEAD = 8;
const SKIPPABLE = 0x184d2a50;
/** Bytes of the end of the blob that are read at first: the footer, and a table of some hundred files. */
const TAIL = 64 * 1024;
const TOC_NAME = 'stargz.index.json';

/** What the annotations of a layer in its manifest say; undefined if it is not read by a table. */
export function tocPlaceOf(
  annotations: Readonly<Record<string, string>>,
  mediaType: string,
  blobSize: number,
): TocPlace | undefined {
  if (/zstd$/.test(mediaType)) {
    for (const prefix of CHUNKED) {
      const digest = annotations[`${prefix}manifest-checksum`] ?? '';
      const [, ...numbers] = POSITION.exec(annotations[`${prefix}manifest-position`] ?? '') ?? [];
      const [offset = 0, length = 0, size = 0] = numbers.map(Number);
      if (!DIGEST.test(digest) || length === 0 || offset < SKIPPABLE_HEAD || offset + length > blobSize)
        continue;
      if (Math.max(length, size) > MAX_TOC) continue;
      return { packing: 'zstd', digest, range: { offset, length, size } };
    }
    return undefined;
  }
  // Some tools keep annotations of a layer that they store in another form.
  const digest = /gzip$/.test(mediaType) ? (annotations[STARGZ] ?? '') : '';
  return DIGEST.test(digest) && blobSize > FOOTER_SIZE ? { packing: 'gzip', digest } : undefined;
}

/** The bytes of the blob that tell whether it has a table at all: the footer of eStargz, the head of the frame of zstd:chunked. */
export function markOf(
  { range }: TocPlace,
  blobSize: number,
): { readonly offset: number; readonly length: number } {
  return range === undefined
    ? { offset: blobSize - FOOTER_SIZE, length: FOOTER_SIZE }
    : { offset: range.offset - SKIPPABLE_HEAD, length: SKIPPABLE_HEAD };
}

/** Do the bytes at {@link markOf} tell of a table? */
export function hasTable({ range }: TocPlace, mark: Buffer): boolean {
  if (range !== undefined)
    return (
      mark.length === SKIPPABLE_HEAD &&
      mark.readUInt32LE() === SKIPPABLE &&
      mark.readUInt32LE(4) === range.length
    );
  return isExternal(mark) || offsetIn(mark) !== undefined;
}

/**
 * The table of a layer; undefined if it is too large to be used, or kept in another image; `absent` if the blob has none, as far as
 * its registry tells: nothing of what was read has been compared with a digest then.
 * @param name names the layer in errors.
 * @throws {SregistryError} CORRUPT if the table is damaged or has another digest; errors of `read`.
 */
export async function readToc(
  place: TocPlace,
  blobSize: number,
  read: ReadPart,
  name: string,
): Promise<Toc | 'absent' | undefined> {
  try {
    return await (place.range === undefined ? readStargz : readChunked)(place, blobSize, read, name);
  } catch (error) {
    const isBad = /^(Z_(DATA|BUF|NEED_DICT)|ZSTD_|ERR_ZSTD|ERR_BUFFER_TOO_LARGE)/;
    // Nothing of it has been compared with a digest yet.
    if (!isBad.test(systemCode(error) ?? '') && !isError(error, 'NOT_AN_IMAGE')) throw error;
    throw damaged(name, 'cannot be decompressed', error);
  }
}

async function readChunked(
  place: TocPlace,
  blobSize: number,
  read: ReadPart,
  name: string,
): Promise<Toc | 'absent'> {
  const { digest, range } = place;
  const { offset, length, size } = range as NonNullable<typeof range>;
  const mark = markOf(place, blobSize);
  const bytes = await read(mark.offset, mark.length + length);
  if (!hasTable(place, bytes.subarray(0, mark.length))) return 'absent';
  const packed = bytes.subarray(mark.length);
  compare(packed, digest, name);
  const json = await promisify(zstdDecompress)(packed, { maxOutputLength: Math.max(1, size) });
  if (json.length !== size) throw damaged(name, `has ${json.length} bytes instead of ${size}`);
  return { json, offset };
}

async function readStargz(
  { digest }: TocPlace,
  blobSize: number,
  read: ReadPart,
  name: string,
): Promise<Toc | 'absent' | undefined> {
  const start = Math.max(0, blobSize - TAIL);
  const tail = await read(start, blobSize - start);
  const end = blobSize - FOOTER_SIZE;
  const footer = tail.subarray(end - start);
  if (isExternal(footer)) return undefined;
  const offset = offsetIn(footer);
  if (offset === undefined) return 'absent';
  if (offset >= end) throw damaged(name, 'is not where the end of the layer says');
  if (end - offset > MAX_TOC) return undefined;
  const known = tail.subarray(Math.max(0, offset - start), end - start);
  const packed = offset >= start ? known : Buffer.concat([await read(offset, start - offset), known]);
  const archive = await gunzipUpTo(packed, MAX_TOC + BLOCK);
  if (archive === undefined) return undefined;
  if (archive.length < BLOCK) throw damaged(name, 'is cut short');
  const header = parseHeader(archive.subarray(0, BLOCK), () => `The table of contents of ${name}`);
  const json = archive.subarray(BLOCK, BLOCK + header.size);
  if (header.name !== TOC_NAME || json.length !== header.size) throw damaged(name, 'is cut short');
  compare(json, digest, name);
  return { json, offset };
}

function isExternal(footer: Buffer): boolean {
  return footer.subarray(-EXTERNAL_FOOTER).includes(EXTERNAL);
}

/** Where the table begins; undefined if the bytes are no footer. */
function offsetIn(footer: Buffer): number | undefined {
  const digits = footer.toString('latin1', FOOTER_HEAD.length, FOOTER_HEAD.length + OFFSET_DIGITS);
  const isFooter =
    footer.subarray(0, FOOTER_HEAD.length).equals(FOOTER_HEAD) &&
    footer.subarray(FOOTER_HEAD.length + OFFSET_DIGITS).equals(FOOTER_TAIL) &&
    /^[0-9a-f]{16}$/.test(digits);
  return isFooter ? Number.parseInt(digits, 16) : undefined;
}

/** The bytes of a member; undefined if they are more than `limit`. */
async function gunzipUpTo(packed: Buffer, limit: number): Promise<Buffer | undefined> {
  const stream = createGunzip();
  stream.end(packed);
  const parts: Buffer[] = [];
  let done = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    done += part.length;
    // What follows the table is the end of the archive.
    if (done > limit + 2 * BLOCK) return undefined;
  }
  return Buffer.concat(parts);
}

function compare(bytes: Buffer, wanted: string, name: string): void {
  const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (found !== wanted) throw damaged(name, `has ${found}, not ${wanted}, which its manifest states`);
}

function damaged(name: string, why: string, cause?: unknown): SregistryError {
  return new SregistryError('CORRUPT', `The table of contents of ${name} ${why}`, {
    hint: 'Open the image again; if it fails again, the registry stores wrong bytes, or who made the image wrote wrong annotations',
    cause,
  });
}
