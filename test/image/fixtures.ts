/** The genuine images of test/fixtures/images (its README says how they were made), and images made by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '../fixtures/images');

export const fixturePath = (name: string) => join(FOLDER, name);

export const fixture = (name: string): Uint8Array => readFileSync(fixturePath(name));

/** Writes fields of 4 or 8 bytes, little-endian, into a copy of `bytes`. */
export function patched(
  bytes: Uint8Array,
  fields: Readonly<Record<number, number | bigint>>,
): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  const view = new DataView(copy.buffer);
  for (const [at, value] of Object.entries(fields)) {
    if (typeof value === 'bigint') view.setBigInt64(Number(at), value, true);
    else view.setInt32(Number(at), value, true);
  }
  return copy;
}

export const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export const LAUNCH_LINE = '#!/usr/bin/env run-singularity\n';

/** An ext3 of `blocks` blocks of 1 KiB, as far as its superblock goes. */
export function extImage(blocks: number, launch = ''): Uint8Array {
  const ext = patched(new Uint8Array(blocks * 1024), { [1024 + 4]: blocks, [1024 + 56]: 0xef53 });
  return Buffer.concat([latin1(launch), ext]);
}

export interface SifObject {
  /** SIF's number of the type: 0x4001 a definition file, 0x4004 a partition, ... */
  readonly type: number;
  readonly data: Uint8Array;
  readonly name?: string;
  readonly group?: number;
  readonly link?: number;
  /** What the type keeps in the descriptor itself. */
  readonly extra?: Uint8Array;
}

/** `extra` of a partition: squashfs 1, ext3 2, encrypted 5; system 1, primary 2, overlay 4; amd64. */
export const partitionExtra = (fileSystem: number, type: number): Uint8Array =>
  Buffer.concat([patched(new Uint8Array(8), { 0: fileSystem, 4: type }), latin1('02\0')]);

/** A SIF as github.com/apptainer/sif writes it, objects one behind the other. */
export function sifImage(objects: readonly SifObject[]): Uint8Array {
  const [header, descriptorSize, total, tableAt] = [128, 585, 48, 4096];
  const dataAt = tableAt + total * descriptorSize;
  const bytes = Buffer.alloc(dataAt + objects.reduce((sum, { data }) => sum + data.length, 0));
  bytes.write(LAUNCH_LINE, 0, 'latin1');
  bytes.write('SIF_MAGIC\x0001\x0002\0', 32, 'latin1');
  const counts = [
    total - objects.length,
    total,
    tableAt,
    total * descriptorSize,
    dataAt,
    bytes.length - dataAt,
  ];
  for (const [i, count] of counts.entries()) bytes.writeBigInt64LE(BigInt(count), header - 48 + i * 8);
  let at = dataAt;
  for (const [i, object] of objects.entries()) {
    const raw = bytes.subarray(tableAt + i * descriptorSize);
    raw.writeInt32LE(object.type, 0);
    raw[4] = 1;
    raw.writeUInt32LE(i + 1, 5);
    raw.writeUInt32LE((0xf0000000 | (object.group ?? 1)) >>> 0, 9);
    raw.writeUInt32LE(object.link ?? 0, 13);
    raw.writeBigInt64LE(BigInt(at), 17);
    raw.writeBigInt64LE(BigInt(object.data.length), 25);
    raw.write(object.name ?? '', 73);
    raw.set(object.extra ?? [], 201);
    bytes.set(object.data, at);
    at += object.data.length;
  }
  return bytes;
}
