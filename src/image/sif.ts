/**
 * The Singularity Image Format: a header, a table of descriptors, and the data objects they point to.
 *
 * Layouts and codes are those of github.com/apptainer/sif (pkg/sif/sif.go, descriptor.go): packed, little-endian. A
 * writer puts the data first, then the table, then the header, so a file being written has zeros here for a while.
 */
import type { ByteRange } from '../base/extents.ts';
import { Fields, malformed, startsWith } from './binary.ts';
import {
  ARCHITECTURES,
  DATA_TYPES,
  FILE_SYSTEMS,
  HASHES,
  lookUp,
  MESSAGE_FORMATS,
  MESSAGE_TYPES,
  type Named,
  PARTITION_TYPES,
  SBOM_FORMATS,
} from './sif-codes.ts';
import { type ByteSource, readExactly } from './source.ts';

/** Offset and text of the magic; in front of it stands the launch script. */
export const SIF_MAGIC = { offset: 32, text: 'SIF_MAGIC\0' } as const;
export const SIF_HEADER_SIZE = 128;
export const DESCRIPTOR_SIZE = 585;
/**
 * Most descriptors of an image. Apptainer makes 48. A table of this many takes 9.6 MB, which bounds the reads that a hostile
 * header can cause.
 */
const MAX_DESCRIPTORS = 16_384;
/** The only known version. */
export const VERSION = '01';
/** The upper bits of a group id, which also tell a link to a group from a link to an object. */
export const GROUP_MASK = 0xf0000000;

export type SifDataType = Named<typeof DATA_TYPES>;

export interface SifHeader {
  readonly launch: string;
  readonly version: string;
  readonly architecture: Named<typeof ARCHITECTURES>;
  /** The image's UUID, 32 hex digits in five groups. */
  readonly id: string;
  readonly created: Date | undefined;
  readonly modified: Date | undefined;
  readonly descriptors: { readonly total: number; readonly offset: number };
  /** The header as stored: {@link SIF_HEADER_SIZE} bytes. */
  readonly raw: Uint8Array;
}

export interface SifDescriptor {
  readonly type: SifDataType;
  readonly id: number;
  /** 0 if the object is in no group. */
  readonly group: number;
  /** What it belongs to (a signature to what it signs); undefined if nothing. */
  readonly link: { readonly to: 'object' | 'group'; readonly id: number } | undefined;
  /** Bytes from the beginning of the file. */
  readonly offset: number;
  /** Bytes of data. */
  readonly size: number;
  readonly created: Date | undefined;
  readonly modified: Date | undefined;
  readonly name: string;
  readonly partition?: SifPartition;
  readonly signature?: SifSignature;
  readonly message?: {
    readonly format: Named<typeof MESSAGE_FORMATS>;
    readonly type: Named<typeof MESSAGE_TYPES>;
  };
  readonly sbom?: Named<typeof SBOM_FORMATS>;
  /** Digest of an OCI blob, `sha256:<hex>`. */
  readonly digest?: string;
  /** The descriptor as stored. */
  readonly raw: Uint8Array;
}

export interface SifPartition {
  readonly fileSystem: Named<typeof FILE_SYSTEMS>;
  readonly type: Named<typeof PARTITION_TYPES>;
  readonly architecture: Named<typeof ARCHITECTURES>;
}

export interface SifSignature {
  readonly hash: Named<typeof HASHES>;
  /** Fingerprint of the signing key, upper-case hex; empty for other than PGP signatures. */
  readonly fingerprint: string;
}

export interface Sif {
  readonly header: SifHeader;
  /** Those in use, in the table's order. */
  readonly descriptors: readonly SifDescriptor[];
  /** Bytes up to the end of the furthest object. */
  readonly length: number;
}

/**
 * The header; undefined as long as it is not written.
 * @throws {SregistryError} NOT_AN_IMAGE if it cannot be right.
 */
export async function readSifHeader(source: ByteSource): Promise<SifHeader | undefined> {
  const raw = await source.read(0, SIF_HEADER_SIZE);
  if (!startsWith(raw, SIF_MAGIC.text, SIF_MAGIC.offset)) {
    if (raw.length < SIF_MAGIC.offset + SIF_MAGIC.text.length) return undefined;
    throw malformed('There is no SIF header');
  }
  if (raw.length < SIF_HEADER_SIZE) return undefined;
  const fields = new Fields(raw, 'SIF header');
  const version = fields.text(42, 3);
  const total = fields.size(88, 'number of descriptors');
  const offset = fields.size(96, 'offset of the descriptors');
  if (version === '' || total === 0) return undefined;
  if (version !== VERSION)
    throw malformed(`SIF version ${JSON.stringify(version)} is not known, only ${VERSION}`);
  if (total > MAX_DESCRIPTORS) throw malformed(`The SIF header claims ${total} descriptors`);
  if (offset < SIF_HEADER_SIZE) throw malformed(`The SIF descriptors, at ${offset}, overlap the header`);
  checkEnd(offset, total * DESCRIPTOR_SIZE, 'The SIF descriptor table');
  return {
    launch: fields.text(0, 32),
    version,
    architecture: lookUp(ARCHITECTURES, fields.text(45, 3)),
    id: formatUuid(raw.subarray(48, 64)),
    created: toDate(fields.i64(64)),
    modified: toDate(fields.i64(72)),
    descriptors: { total, offset },
    raw,
  };
}

/**
 * Header and descriptors; undefined until all are written.
 * @throws {SregistryError} NOT_AN_IMAGE if they cannot be right.
 */
export async function readSif(source: ByteSource): Promise<Sif | undefined> {
  const header = await readSifHeader(source);
  if (header === undefined) return undefined;
  const { offset, total } = header.descriptors;
  const table = await source.read(offset, total * DESCRIPTOR_SIZE);
  if (table.length < total * DESCRIPTOR_SIZE) return undefined;
  const end = offset + table.length;
  const descriptors: SifDescriptor[] = [];
  for (let at = 0; at < table.length; at += DESCRIPTOR_SIZE) {
    const descriptor = parseDescriptor(table.subarray(at, at + DESCRIPTOR_SIZE));
    if (descriptor === undefined) continue;
    checkPlace(descriptor, offset, end);
    descriptors.push(descriptor);
  }
  if (descriptors.length === 0) return undefined;
  return { header, descriptors, length: Math.max(end, ...descriptors.map((d) => d.offset + d.size)) };
}

/**
 * The data of one object, at most `limit` bytes of it.
 * @throws {SregistryError} CORRUPT if the file ends before, NOT_AN_IMAGE if the object is larger than `limit`.
 */
export async function readSifData(
  source: ByteSource,
  descriptor: SifDescriptor,
  limit: number,
): Promise<Uint8Array> {
  const what = `SIF object ${descriptor.id} (${descriptor.type})`;
  if (descriptor.size > limit)
    throw malformed(`${what} has ${descriptor.size} bytes, more than the ${limit} such an object can have`);
  return readExactly(source, descriptor.offset, descriptor.size, what);
}

/** The range of the descriptor table, including unused entries. */
export function tableOf({ descriptors: { offset, total } }: SifHeader): ByteRange {
  return { start: offset, end: offset + total * DESCRIPTOR_SIZE };
}

/** The partition that is mounted as the container's root. */
export function primaryPartition(sif: Sif): SifDescriptor | undefined {
  return sif.descriptors.find((descriptor) => descriptor.partition?.type === 'primary');
}

function parseDescriptor(raw: Uint8Array): SifDescriptor | undefined {
  if (raw[4] === 0) return undefined;
  const fields = new Fields(raw, 'SIF descriptor');
  const type = lookUp(DATA_TYPES, fields.i32(0));
  const link = fields.u32(13);
  return {
    type,
    id: fields.u32(5),
    group: withoutMask(fields.u32(9)),
    link: link === 0 ? undefined : { to: link >= GROUP_MASK ? 'group' : 'object', id: withoutMask(link) },
    offset: fields.size(17, 'offset'),
    size: fields.size(25, 'size'),
    created: toDate(fields.i64(41)),
    modified: toDate(fields.i64(49)),
    name: fields.text(73, 128),
    ...parseExtra(type, new Fields(raw.subarray(201), 'SIF descriptor')),
    raw,
  };
}

/** The 384 bytes whose meaning depends on the type. */
function parseExtra(type: SifDataType, extra: Fields): Partial<SifDescriptor> {
  switch (type) {
    case 'partition':
      return {
        partition: {
          fileSystem: lookUp(FILE_SYSTEMS, extra.i32(0)),
          type: lookUp(PARTITION_TYPES, extra.i32(4)),
          architecture: lookUp(ARCHITECTURES, extra.text(8, 3)),
        },
      };
    case 'signature': {
      const entity = extra.bytes.subarray(4, 24);
      const fingerprint = entity.some(Boolean) ? Buffer.from(entity).toString('hex').toUpperCase() : '';
      return { signature: { hash: lookUp(HASHES, extra.i32(0)), fingerprint } };
    }
    case 'crypto-message':
      return {
        message: {
          format: lookUp(MESSAGE_FORMATS, extra.i32(0)),
          type: lookUp(MESSAGE_TYPES, extra.i32(4)),
        },
      };
    case 'sbom':
      return { sbom: lookUp(SBOM_FORMATS, extra.i32(0)) };
    case 'oci-blob':
    case 'oci-root-index':
      return { digest: extra.text(0, 384) };
    default:
      return {};
  }
}

/** Objects lie behind the header and beside the table. */
function checkPlace({ id, offset, size }: SifDescriptor, tableStart: number, tableEnd: number): void {
  const end = checkEnd(offset, size, `SIF object ${id}`);
  if (size === 0) return;
  if (offset < SIF_HEADER_SIZE) throw malformed(`SIF object ${id}, at ${offset}, overlaps the header`);
  if (offset < tableEnd && end > tableStart)
    throw malformed(`SIF object ${id}, at ${offset}, overlaps the descriptor table`);
}

function checkEnd(offset: number, size: number, what: string): number {
  const end = offset + size;
  if (Number.isSafeInteger(end)) return end;
  throw malformed(`${what} ends at an impossible offset: ${offset} + ${size}`);
}

function withoutMask(id: number): number {
  return (id & ~GROUP_MASK) >>> 0;
}

/** Deterministic images have the zero of Go's time.Time here, which is not a date to show. */
function toDate(seconds: bigint): Date | undefined {
  return seconds > 0n && seconds < 8_640_000_000_000n ? new Date(Number(seconds) * 1000) : undefined;
}

function formatUuid(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
