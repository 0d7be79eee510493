/**
 * Layers with a table of contents. Those of test/fixtures/layers are genuine; {@link stargzOf} and {@link chunkedOf} make others from
 * the formats' documents, as large, or as wrong, as a test needs. A test reads what they make of a genuine archive and the genuine form
 * of it, and compares the two.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { digestOf, type Layer } from './layered.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures/layers');

export const GENUINE = ['layer.esgz', 'layer-inner.esgz', 'layer.zst', 'layer-old.zst'] as const;

/** A layer of test/fixtures/layers. */
export function genuineLayer(name: (typeof GENUINE)[number] | 'layer.tar.gz'): Layer {
  const { [name]: stated } = JSON.parse(readFileSync(join(FIXTURES, 'layers.json'), 'utf8'));
  return { tar: genuineTar(), blob: readFileSync(join(FIXTURES, name)), ...stated };
}

export function genuineTar(): Buffer {
  return gunzipSync(readFileSync(join(FIXTURES, 'layer.tar.gz')));
}

/** An entry of a table, as JSON has it. */
export type TocItem = { type: string; name: string; [more: string]: unknown };

export interface MakeOptions {
  /** Bytes of a chunk; default: 4 MiB, as the tools have it. */
  readonly chunkSize?: number;
  /** Changes the table before it is written. Its digest is that of what was written. */
  readonly change?: (items: TocItem[]) => unknown;
  /** Changes the text of the table. */
  readonly text?: (json: string) => string;
}

const STARGZ = 'containerd.io/snapshot/stargz/toc.digest';
const CHUNKED = 'io.github.containers.zstd-chunked.manifest';

/** The archive as eStargz. */
export function stargzOf(tar: Buffer, options: MakeOptions = {}): Layer {
  const { parts, items, size } = pack(tar, options, (bytes) => gzipSync(bytes, { level: 6 }));
  const json = tableOf(items, options);
  const member = gzipSync(
    Buffer.concat([
      headerOf('stargz.index.json', json.length),
      json,
      padding(json.length),
      Buffer.alloc(1024),
    ]),
  );
  const footer = Buffer.concat([
    Buffer.from('1f8b08040000000000ff1a0053471600', 'hex'),
    Buffer.from(`${size.toString(16).padStart(16, '0')}STARGZ`),
    Buffer.from('010000ffff0000000000000000', 'hex'),
  ]);
  const blob = Buffer.concat([...parts, member, footer]);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  const diffId = digestOf(gunzipSync(blob));
  return { tar, blob, mediaType, diffId, annotations: { [STARGZ]: digestOf(json) } };
}

/** The archive as zstd:chunked. */
export function chunkedOf(tar: Buffer, options: MakeOptions = {}): Layer {
  const { parts, items, size } = pack(tar, options, (bytes) => zstdCompressSync(bytes));
  const json = tableOf(items, options);
  const table = zstdCompressSync(json);
  const offset = size + 8;
  const numbers = [offset, table.length, json.length, 1, 0, 0, 0];
  const footer = Buffer.alloc(64);
  for (const [i, number] of numbers.entries()) footer.writeBigUInt64LE(BigInt(number), i * 8);
  footer.write('GNUlInUx', 56);
  const blob = Buffer.concat([...parts, skippable(table), skippable(footer)]);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+zstd';
  const annotations = {
    [`${CHUNKED}-checksum`]: digestOf(table),
    [`${CHUNKED}-position`]: `${offset}:${table.length}:${json.length}:1`,
  };
  return { tar, blob, mediaType, diffId: digestOf(tar), annotations };
}

function tableOf(items: TocItem[], { change, text = (json) => json }: MakeOptions): Buffer {
  const entries = change?.(items) ?? items;
  return Buffer.from(text(JSON.stringify({ version: 1, entries })));
}

/** Packs each chunk of contents, and what is between two files, by itself. */
function pack(
  tar: Buffer,
  { chunkSize = 4 * 1024 * 1024 }: MakeOptions,
  compress: (bytes: Buffer) => Buffer,
) {
  const parts: Buffer[] = [];
  const items: TocItem[] = [];
  let size = 0;
  const put = (bytes: Buffer): number => {
    const at = size;
    parts.push(compress(bytes));
    size += (parts.at(-1) as Buffer).length;
    return at;
  };
  let from = 0;
  for (const { item, at, length } of entriesOf(tar)) {
    items.push(item);
    if (length === 0) continue;
    put(tar.subarray(from, at));
    for (let done = 0; done < length; done += chunkSize) {
      const bytes = tar.subarray(at + done, at + Math.min(length, done + chunkSize));
      const chunk = done === 0 ? item : { type: 'chunk', name: item.name, chunkOffset: done };
      const isLast = done + chunkSize >= length;
      Object.assign(chunk, {
        offset: put(bytes),
        chunkDigest: digestOf(bytes),
        ...(!isLast && { chunkSize }),
      });
      if (done > 0) items.push(chunk);
    }
    from = at + length;
  }
  put(tar.subarray(from));
  return { parts, items, size };
}

const TYPES: Readonly<Record<string, string>> = {
  '0': 'reg',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
};

/** The entries of an archive as POSIX ustar, with pax records of names and extended attributes. */
function* entriesOf(tar: Buffer): Generator<{ item: TocItem; at: number; length: number }> {
  let records: Record<string, string> = {};
  for (let at = 0; tar[at] !== 0; ) {
    const text = (from: number, length: number) =>
      tar.toString('latin1', at + from, at + from + length).split('\0')[0] ?? '';
    const number = (from: number, length: number) => Number.parseInt(text(from, length), 8) || 0;
    const [length, type] = [number(124, 12), text(156, 1)];
    const data = at + 512;
    const next = data + length + padding(length).length;
    if (type === 'x') {
      records = paxOf(tar.subarray(data, data + length));
    } else {
      const prefix = text(345, 155);
      const name = records.path ?? (prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`);
      const target = records.linkpath ?? text(157, 100);
      const attributes = Object.entries(records).filter(([key]) => key.startsWith('SCHILY.xattr.'));
      const xattrs = attributes.map(([key, value]) => [
        key.slice(13),
        Buffer.from(value, 'latin1').toString('base64'),
      ]);
      const item = {
        type: TYPES[type] as string,
        name: Buffer.from(name, 'latin1').toString(),
        mode: number(100, 8),
        uid: Number(records.uid ?? number(108, 8)),
        gid: Number(records.gid ?? number(116, 8)),
        modtime: new Date(number(136, 12) * 1000).toISOString().replace('.000', ''),
        ...(type === '0' &&
          length > 0 && { size: length, digest: digestOf(tar.subarray(data, data + length)) }),
        ...(target !== '' && { linkName: Buffer.from(target, 'latin1').toString() }),
        ...((type === '3' || type === '4') && { devMajor: number(329, 8), devMinor: number(337, 8) }),
        ...(xattrs.length > 0 && { xattrs: Object.fromEntries(xattrs) }),
      };
      records = {};
      yield { item, at: data, length };
    }
    at = next;
  }
}

function paxOf(bytes: Buffer): Record<string, string> {
  const records: Record<string, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(' ', at);
    const end = at + Number(bytes.toString('latin1', at, space));
    const [key, ...value] = bytes.toString('latin1', space + 1, end - 1).split('=');
    records[key as string] = value.join('=');
    at = end;
  }
  return records;
}

function headerOf(name: string, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\x000000000\x000000000\0', 100);
  header.write(`${size.toString(8).padStart(11, '0')}\x0000000000000\0        0`, 124);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function padding(length: number): Buffer {
  return Buffer.alloc((512 - (length % 512)) % 512);
}

function skippable(bytes: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}
