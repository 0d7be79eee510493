/**
 * SOCI indexes as `soci` of soci-snapshotter makes them (ztoc/toc_builder.go, ztoc_marshaler.go, compression/gzip_zinfo.c,
 * soci/soci_index.go), and their place in a registry. The tables are written by the project's own schemas, test/fixtures/soci.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LayerEntry } from '../../src/image/layers/entry.ts';
import { type GzipPlace, GzipScanner } from '../../src/image/layers/gzip.ts';
import { indexTar } from '../../src/image/layers/tar.ts';
import { bytesSource } from '../../src/image/source.ts';
import { describe, digestOf, type Layer, type PushedImage, pushBlob, pushManifest } from './layered.ts';

/** What a table holds, by the names of the schema. */
export type Table = { readonly [field: string]: Value };
type Value = string | number | Buffer | Table | readonly (string | Table)[] | undefined;

const FOLDER = join(import.meta.dirname, '../fixtures/soci');
const SCHEMAS = ['ztoc.fbs', 'zinfo.fbs'].map((name) => readFileSync(join(FOLDER, name), 'utf8')).join('\n');

interface Field {
  readonly name: string;
  readonly type: string;
}

/** The fields of a table of the schema, in their order. */
function fieldsOf(table: string): Field[] {
  const [, body = ''] = new RegExp(`^table ${table} \\{([^}]*)\\}`, 'm').exec(SCHEMAS) ?? [];
  const lines = body.replaceAll(/\/\/.*/g, '').split(';');
  return lines.flatMap((line) => {
    const [, name, type] = /(\w+)\s*:\s*([^\s=]+)/.exec(line) ?? [];
    return name === undefined || type === undefined ? [] : [{ name, type }];
  });
}

const WIDTHS: Readonly<Record<string, number>> = {
  CompressionAlgorithm: 1,
  int: 4,
  int32: 4,
  uint32: 4,
  long: 8,
  int64: 8,
};

/** Writes a table as the root of a FlatBuffer. Every table is followed by what it refers to. */
export function flatBuffer(type: string, root: Table): Buffer {
  let bytes = Buffer.alloc(1 << 20);
  let size = 0;
  const reserve = (length: number, align: number): number => {
    size = Math.ceil(size / align) * align;
    const at = size;
    size += length;
    while (size > bytes.length) bytes = Buffer.concat([bytes, Buffer.alloc(bytes.length)]);
    return at;
  };
  const refer = (at: number, to: number) => bytes.writeUInt32LE(to - at, at);
  const writeVector = (data: Buffer): number => {
    const at = reserve(4 + data.length + 1, 4);
    bytes.writeUInt32LE(data.length, at);
    data.copy(bytes, at + 4);
    return at;
  };
  const writeValue = (fieldType: string, value: Value): number => {
    if (typeof value === 'string') return writeVector(Buffer.from(value, 'latin1'));
    if (Buffer.isBuffer(value)) return writeVector(value);
    if (!Array.isArray(value)) return writeTable(fieldType, value as Table);
    const at = reserve(4 + 4 * value.length, 4);
    bytes.writeUInt32LE(value.length, at);
    value.forEach((item, i) => {
      refer(at + 4 + 4 * i, writeValue(fieldType.slice(1, -1), item));
    });
    return at;
  };
  const writeTable = (table: string, values: Table): number => {
    const fields = fieldsOf(table);
    const unknown = Object.keys(values).filter((name) => !fields.some((field) => field.name === name));
    if (unknown.length > 0) throw new Error(`${table} has no ${unknown}`);
    const vtable = reserve(4 + 2 * fields.length, 2);
    // Room for every field as wide as the widest, so that each is aligned.
    const at = reserve(8 + 8 * fields.length, 8);
    bytes.writeInt32LE(at - vtable, at);
    bytes.writeUInt16LE(4 + 2 * fields.length, vtable);
    bytes.writeUInt16LE(8 + 8 * fields.length, vtable + 2);
    fields.forEach(({ name, type: fieldType }, i) => {
      const value = values[name];
      if (value === undefined) return;
      const place = at + 8 + 8 * i;
      bytes.writeUInt16LE(place - at, vtable + 4 + 2 * i);
      const width = WIDTHS[fieldType];
      if (width === undefined) refer(place, writeValue(fieldType, value));
      else if (width === 1) bytes.writeInt8(value as number, place);
      else if (width === 4) bytes.writeUInt32LE((value as number) >>> 0, place);
      else bytes.writeBigInt64LE(BigInt(value as number), place);
    });
    return at;
  };
  reserve(4, 4);
  refer(0, writeTable(type, root));
  return Buffer.from(bytes.subarray(0, size));
}

const TYPES: Readonly<Record<LayerEntry['type'], string>> = {
  file: 'reg',
  directory: 'dir',
  symlink: 'symlink',
  'hard-link': 'hardlink',
  fifo: 'fifo',
  'character-device': 'char',
  'block-device': 'block',
};

/** What Go's reader of archives tells of an entry. `at` is the place of an entry without contents. */
export function fileMetadata(entry: LayerEntry, at: number): Table {
  const { xattrs = {}, modified } = entry;
  return {
    name: entry.path,
    type: TYPES[entry.type],
    uncompressed_offset: entry.type === 'file' ? entry.offset : at,
    uncompressed_size: entry.type === 'file' ? entry.size : 0,
    linkname: 'target' in entry ? entry.target : '',
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    uname: 'root',
    gname: 'root',
    mod_time: new Date(modified * 1000).toISOString().replace(/\.\d+Z$/, '.25Z'),
    devmajor: 'major' in entry ? entry.major : 0,
    devminor: 'minor' in entry ? entry.minor : 0,
    xattrs: Object.entries(xattrs).map(([name, value]) => ({ key: `SCHILY.xattr.${name}`, value })),
  };
}

/** Places as `generate_zinfo_from_fp` chooses them: the first block, and those behind so many bytes. */
function checkpointsOf(blob: Buffer, span: number): GzipPlace[] {
  const chosen: GzipPlace[] = [{ kind: 'block', at: 10, bit: 0, byte: 0, offset: 0 }];
  const scanner = new GzipScanner((place) => {
    if (place.kind === 'block' && place.offset - (chosen.at(-1)?.offset ?? 0) > span) chosen.push(place);
  });
  scanner.push(blob);
  scanner.end();
  return chosen;
}

export interface ZtocOptions {
  /** Bytes between two checkpoints. */
  readonly span: number;
  /** Leave the first checkpoint out, as the first version of gzip_zinfo did. */
  readonly firstVersion?: boolean;
  readonly change?: (ztoc: Table, files: Table[]) => Table;
}

/** The ztoc of a layer, as gzip with a header of 10 bytes, or as plain archive. */
export async function ztocOf(
  { tar, blob }: Pick<Layer, 'tar' | 'blob'>,
  { span, firstVersion = false, change = (ztoc) => ztoc }: ZtocOptions,
): Promise<Buffer> {
  const isPlain = blob.equals(tar);
  const entries = await indexTar(bytesSource(tar), 'The layer');
  let at = 0;
  const files = entries.map((entry) => {
    at = entry.type === 'file' ? entry.offset : at + 512;
    return fileMetadata(entry, at);
  });
  // Go stops at the first two empty blocks.
  let end = tar.length;
  while (end > 1024 && tar.subarray(end - 1536, end - 1024).every((byte) => byte === 0)) end -= 512;
  const compression = isPlain ? plainInfo(blob, span) : gzipInfo(tar, blob, span, firstVersion);
  const ztoc: Table = {
    version: '0.9',
    build_tool_identifier: 'AWS SOCI CLI v0.2',
    compressed_archive_size: blob.length,
    uncompressed_archive_size: end,
    toc: { metadata: files },
    compression_info: compression,
  };
  return flatBuffer('Ztoc', change(ztoc, files));
}

function plainInfo(blob: Buffer, span: number): Table {
  const spans = Array.from({ length: Math.ceil(blob.length / span) }, (_, i) =>
    blob.subarray(i * span, (i + 1) * span),
  );
  return {
    compression_algorithm: 2,
    max_span_id: spans.length - 1,
    span_digests: spans.map((bytes) => digestOf(bytes)),
    checkpoints: flatBuffer('TarZinfo', { version: 1, span_size: span, size: blob.length }),
  };
}

function gzipInfo(tar: Buffer, blob: Buffer, span: number, firstVersion: boolean): Table {
  const places = checkpointsOf(blob, span);
  const startOf = ({ at }: GzipPlace) => at;
  const endOf = (place: GzipPlace | undefined) =>
    place === undefined ? blob.length : place.at + (place.bit === 0 ? 0 : 1);
  const packed = places.map(({ at, bit, offset }) => {
    const checkpoint = Buffer.alloc(8 + 8 + 1 + 32_768);
    checkpoint.writeBigInt64LE(BigInt(bit === 0 ? at : at + 1), 0);
    checkpoint.writeBigInt64LE(BigInt(offset), 8);
    checkpoint.writeUInt8(bit === 0 ? 0 : 8 - bit, 16);
    const window = tar.subarray(Math.max(0, offset - 32_768), offset);
    window.copy(checkpoint, checkpoint.length - window.length);
    return checkpoint;
  });
  const header = Buffer.alloc(12);
  header.writeInt32LE(places.length, 0);
  header.writeBigInt64LE(BigInt(span), 4);
  return {
    compression_algorithm: 1,
    max_span_id: places.length - 1,
    span_digests: places.map((place, i) => digestOf(blob.subarray(startOf(place), endOf(places[i + 1])))),
    checkpoints: Buffer.concat([header, ...packed.slice(firstVersion ? 1 : 0)]),
  };
}

/** The ztoc with other windows at its checkpoints: decompressing from them gives other bytes, of the same number. */
export function withOtherWindows(ztoc: Table): Table {
  const info = ztoc.compression_info as Table & { checkpoints: Buffer };
  const checkpoints = Buffer.from(info.checkpoints);
  for (let at = 12; at < checkpoints.length; at += 17 + 32_768)
    checkpoints.fill('x', at + 17, at + 17 + 32_768);
  return { ...ztoc, compression_info: { ...info, checkpoints } };
}

/** Pushes an index of the second version. Returns what the manifest of its image must say to name it. */
export async function pushSociIndex(
  url: string,
  repository: string,
  ztocs: readonly Indexed[],
  version = 'v2',
): Promise<Record<string, string>> {
  const { digest } = await pushIndexManifest(
    url,
    repository,
    ztocs,
    `application/vnd.amazon.soci.index.${version}+json`,
  );
  return { 'com.amazon.soci.index-digest': digest };
}

export const SOCI_1 = 'application/vnd.amazon.soci.index.v1+json';

/**
 * Pushes an index of the first version that refers to an image. Returns its descriptor, as a registry lists it.
 * @param annotations of the index, besides its own.
 */
export async function pushReferringIndex(
  url: string,
  repository: string,
  subject: PushedImage,
  ztocs: readonly Indexed[],
  annotations: Readonly<Record<string, string>> = {},
): Promise<Referrer> {
  const pushed = await pushIndexManifest(url, repository, ztocs, SOCI_1, { subject, annotations });
  return { ...pushed, artifactType: SOCI_1, annotations };
}

export type Referrer = PushedImage & {
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
};

/** Stores referrers as clients do for a registry without the API: under the tag that the specification has for them. */
export function tagReferrers(
  url: string,
  repository: string,
  { digest }: PushedImage,
  manifests: readonly Referrer[],
): Promise<PushedImage> {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  return pushManifest(url, repository, digest.replace(':', '-'), { schemaVersion: 2, mediaType, manifests });
}

interface Indexed {
  readonly layer: Layer;
  readonly ztoc: Buffer;
}

async function pushIndexManifest(
  url: string,
  repository: string,
  ztocs: readonly Indexed[],
  type: string,
  { annotations, ...more }: { subject?: PushedImage; annotations?: Readonly<Record<string, string>> } = {},
): Promise<PushedImage> {
  const config = Buffer.from('{}');
  for (const blob of [config, ...ztocs.map(({ ztoc }) => ztoc)]) await pushBlob(url, repository, blob);
  return pushManifest(url, repository, undefined, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: describe(config, type),
    layers: ztocs.map(({ layer, ztoc }) => ({
      ...describe(ztoc, 'application/octet-stream'),
      annotations: {
        'com.amazon.soci.image-layer-digest': digestOf(layer.blob),
        'com.amazon.soci.image-layer-mediaType': layer.mediaType,
      },
    })),
    annotations: { 'com.amazon.soci.build-tool-identifier': 'AWS SOCI CLI v0.2', ...annotations },
    ...more,
  });
}
