/**
 * Writes a SIF as Apptainer builds one: a definition file, JSON objects, and one SquashFS that is the container's root, all in
 * group 1. The same objects, id and time give the same bytes.
 */
import { SregistryError } from '../base/errors.ts';
import { DESCRIPTOR_SIZE, GROUP_MASK, SIF_HEADER_SIZE, SIF_MAGIC, VERSION } from './sif.ts';
import { ARCHITECTURES, codeOf, DATA_TYPES, FILE_SYSTEMS, PARTITION_TYPES } from './sif-codes.ts';
import type { WriteAt } from './squashfs/pack.ts';

/** As `singularity run` of the file itself: the kernel starts this. */
const LAUNCH = '#!/usr/bin/env run-singularity\n';
/** Where Apptainer's builder puts the table, and how many objects it leaves room for: signatures are added later. */
const TABLE_OFFSET = 4096;
const TABLE_ENTRIES = 48;
const DATA_OFFSET = TABLE_OFFSET + TABLE_ENTRIES * DESCRIPTOR_SIZE;
/** A partition begins at a multiple of this, so that the kernel can mount it in place. */
const ALIGNMENT = 4096;
const GROUP = (GROUP_MASK | 1) >>> 0;
const NAME_SIZE = 128;

export interface SifObject {
  readonly type: 'deffile' | 'json';
  /** At most 127 bytes. */
  readonly name?: string;
  readonly bytes: Uint8Array;
}

export interface SifOptions {
  /** 16 bytes. */
  readonly id: Uint8Array;
  /** Seconds since 1970. */
  readonly created: number;
  /** As Go names it: `amd64`. */
  readonly architecture: string;
}

interface Placed {
  readonly type: 'deffile' | 'json' | 'partition';
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  /** With the zeros in front of it. */
  readonly padded: number;
}

/**
 * Writes the image and returns its bytes. The header comes last, so what is not whole is no image.
 * @param packRoot writes the SquashFS with offsets from its own beginning, and returns its bytes.
 * @throws {SregistryError} NOT_PRESENTABLE if SIF has no code for the architecture; the errors of `write` and `packRoot`.
 */
export async function writeSif(
  write: WriteAt,
  objects: readonly SifObject[],
  packRoot: (write: WriteAt) => Promise<number>,
  options: SifOptions,
): Promise<number> {
  const architecture = architectureCode(options.architecture);
  const placed: Placed[] = [];
  let end = DATA_OFFSET;
  for (const { type, name = '', bytes } of objects) {
    await write(bytes, end);
    placed.push({ type, name, offset: end, size: bytes.length, padded: bytes.length });
    end += bytes.length;
  }
  const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
  const size = await packRoot((bytes, at) => write(bytes, offset + at));
  placed.push({ type: 'partition', name: '', offset, size, padded: offset - end + size });
  end = offset + size;

  const table = Buffer.alloc(TABLE_ENTRIES * DESCRIPTOR_SIZE);
  for (const [i, object] of placed.entries())
    writeDescriptor(table.subarray(i * DESCRIPTOR_SIZE), i + 1, object, options, architecture);
  await write(table, TABLE_OFFSET);
  await write(header(placed.length, end, options, architecture), 0);
  return end;
}

/** @throws {SregistryError} NOT_PRESENTABLE if SIF has none. */
export function architectureCode(architecture: string): string {
  const code = codeOf(ARCHITECTURES, architecture);
  if (code !== undefined) return code;
  throw new SregistryError(
    'NOT_PRESENTABLE',
    `A SIF cannot be for the architecture ${JSON.stringify(architecture.slice(0, 40))}`,
  );
}

function header(used: number, end: number, { id, created }: SifOptions, architecture: string): Buffer {
  const bytes = Buffer.alloc(SIF_HEADER_SIZE);
  bytes.write(LAUNCH, 0);
  bytes.write(SIF_MAGIC.text, SIF_MAGIC.offset, 'latin1');
  bytes.write(VERSION, 42);
  bytes.write(architecture, 45);
  bytes.set(id.subarray(0, 16), 48);
  const numbers = [
    created,
    created,
    TABLE_ENTRIES - used,
    TABLE_ENTRIES,
    TABLE_OFFSET,
    TABLE_ENTRIES * DESCRIPTOR_SIZE,
    DATA_OFFSET,
    end - DATA_OFFSET,
  ];
  for (const [i, number] of numbers.entries()) bytes.writeBigInt64LE(BigInt(number), 64 + i * 8);
  return bytes;
}

/** See parseDescriptor in sif.ts. Owners, at 57 and 65, are root. */
function writeDescriptor(
  bytes: Buffer,
  id: number,
  { type, name, offset, size, padded }: Placed,
  { created }: SifOptions,
  architecture: string,
): void {
  bytes.writeInt32LE(Number(codeOf(DATA_TYPES, type)), 0);
  bytes.writeUInt8(1, 4);
  bytes.writeUInt32LE(id, 5);
  bytes.writeUInt32LE(GROUP, 9);
  for (const [i, number] of [offset, size, padded, created, created].entries())
    bytes.writeBigInt64LE(BigInt(number), 17 + i * 8);
  bytes.write(name, 73, NAME_SIZE - 1);
  if (type !== 'partition') return;
  bytes.writeInt32LE(Number(codeOf(FILE_SYSTEMS, 'squashfs')), 201);
  bytes.writeInt32LE(Number(codeOf(PARTITION_TYPES, 'primary')), 205);
  bytes.write(architecture, 209);
}
