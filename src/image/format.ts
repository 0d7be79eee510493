/**
 * Tells whether bytes are an image, its kind, its length when whole, and whether it is whole.
 *
 * The answer comes from the image's own header, so a writer's `close()` can tell a finished copy from an early one without
 * being told the size. If the header is not there yet (nothing written, zeros, the beginning of a known one), the answer is
 * `unknown`, as its writer may still write it. Bytes that no image can begin with are `not-an-image` at once.
 */
import { isError } from '../base/errors.ts';
import type { ByteRange } from '../base/extents.ts';
import { isZero, startsWith } from './binary.ts';
import { EXT_HEADER_SIZE, extLength, isExt } from './ext.ts';
import { describeForeign } from './foreign.ts';
import { readSif, SIF_HEADER_SIZE, SIF_MAGIC, type Sif, tableOf } from './sif.ts';
import type { ByteSource } from './source.ts';
import { parseSuperblock, SQUASHFS_MAGIC, SUPERBLOCK_SIZE } from './squashfs/superblock.ts';

export type ImageKind =
  | 'sif'
  | 'squashfs' // bare
  | 'ext3' // bare ext2, ext3 or ext4
  | 'singularity2-squashfs' // Singularity 2.4 to 2.6: a launch line, then SquashFS
  | 'singularity2-ext3'; // Singularity 2.0 to 2.3: a launch line, then ext

export interface Identification {
  readonly kind: ImageKind | undefined;
  /** Bytes of the whole image; a file may be longer (padding). Undefined as long as the header does not tell. */
  readonly length: number | undefined;
  /** Are all `length` bytes present? */
  readonly whole: boolean;
  readonly state: 'whole' | 'partial' | 'unknown' | 'not-an-image';
  /**
   * The bytes that every writer of the image writes, as far as its header tells. Bytes between them are padding, or may be
   * holes, as in a sparse ext file system.
   */
  readonly parts: readonly ByteRange[];
  /** The state in one sentence for a person. */
  readonly reason: string;
}

/** The launch line in front of the file system of Singularity 2 images and, padded with NUL, in SIF. */
const LAUNCH_LINE = '#!/usr/bin/env run-singularity\n';
const LAUNCH_WORD = ' run-singularity';
/** The longest launch line looked for. */
export const MAX_LAUNCH = 256;
const HEAD_SIZE = MAX_LAUNCH + EXT_HEADER_SIZE;
/** So many zeros count as a header that is still to be written. */
const ZERO_HEADER = SIF_MAGIC.offset + SIF_MAGIC.text.length;

/** Identifies an image. Any bytes give an {@link Identification}; only errors of the source are thrown. */
export async function identify(source: ByteSource): Promise<Identification> {
  const head = await source.read(0, HEAD_SIZE);
  try {
    return await identifyHead(source, head);
  } catch (error) {
    if (isError(error, 'NOT_AN_IMAGE')) return notAnImage(error.message);
    throw error;
  }
}

/** Bytes of the launch line in front of the payload of a Singularity 2 image; 0 without one. */
export function launchLength(head: Uint8Array): number {
  if (!startsWith(head, '#!')) return 0;
  const end = head.subarray(0, MAX_LAUNCH).indexOf(10) + 1;
  const line = Buffer.from(head.subarray(0, end)).toString('latin1');
  return line.includes(LAUNCH_WORD) ? end : 0;
}

async function identifyHead(source: ByteSource, head: Uint8Array): Promise<Identification> {
  if (startsWith(head, SIF_MAGIC.text, SIF_MAGIC.offset)) {
    const sif = await readSif(source);
    return measured('sif', sif?.length, source.size, sif === undefined ? [] : sifParts(sif));
  }
  const launch = launchLength(head);
  const payload = head.subarray(launch);
  if (startsWith(payload, SQUASHFS_MAGIC)) {
    const kind = launch === 0 ? 'squashfs' : 'singularity2-squashfs';
    const length = add(launch, squashfsLength(payload));
    return measured(kind, length, source.size, length === undefined ? [] : [{ start: 0, end: length }]);
  }
  if (isExt(payload)) {
    const kind = launch === 0 ? 'ext3' : 'singularity2-ext3';
    const length = payload.length < EXT_HEADER_SIZE ? undefined : extLength(payload);
    return measured(kind, add(launch, length), source.size, [{ start: 0, end: launch + EXT_HEADER_SIZE }]);
  }
  if (mayBecomeHeader(head) || isZero(payload.subarray(0, ZERO_HEADER))) return unknown(source.size);
  if (launch > 0)
    return notAnImage('No SIF, SquashFS or ext file system follows the launch line of Singularity');
  return notAnImage(`It is ${describeForeign(head)}, not a SIF, SquashFS or ext image`);
}

function squashfsLength(payload: Uint8Array): number | undefined {
  return payload.length < SUPERBLOCK_SIZE
    ? undefined
    : parseSuperblock(payload.subarray(0, SUPERBLOCK_SIZE)).bytesUsed;
}

/** Header, descriptor table and objects. Apptainer leaves holes only in ext file systems. */
function sifParts(sif: Sif): ByteRange[] {
  const objects = sif.descriptors.map(({ offset, size, partition }) => {
    const written = partition?.fileSystem === 'ext3' ? Math.min(size, EXT_HEADER_SIZE) : size;
    return { start: offset, end: offset + written };
  });
  return [{ start: 0, end: SIF_HEADER_SIZE }, tableOf(sif.header), ...objects];
}

/** Is this the beginning of a header, shorter than its magic? */
function mayBecomeHeader(head: Uint8Array): boolean {
  const text = Buffer.from(head).toString('latin1');
  if (text.length < SQUASHFS_MAGIC.length && SQUASHFS_MAGIC.startsWith(text)) return true;
  const sif = `${LAUNCH_LINE}\0${SIF_MAGIC.text}`;
  const old = `${LAUNCH_LINE}${SQUASHFS_MAGIC}`;
  return sif.startsWith(text) || old.startsWith(text);
}

function add(launch: number, length: number | undefined): number | undefined {
  return length === undefined ? undefined : launch + length;
}

const TITLES: Record<ImageKind, string> = {
  sif: 'SIF image',
  squashfs: 'SquashFS image',
  ext3: 'ext image',
  'singularity2-squashfs': 'Singularity 2 image (SquashFS)',
  'singularity2-ext3': 'Singularity 2 image (ext)',
};

function measured(
  kind: ImageKind,
  length: number | undefined,
  size: number,
  parts: readonly ByteRange[],
): Identification {
  const title = TITLES[kind];
  if (length === undefined) {
    const reason = `${title} whose header is not complete in its ${size} bytes`;
    return { kind, length, whole: false, state: 'partial', reason, parts };
  }
  if (size < length) {
    return {
      kind,
      length,
      whole: false,
      state: 'partial',
      reason: `${title} of which ${size} of ${length} bytes are there`,
      parts,
    };
  }
  return { kind, length, whole: true, state: 'whole', reason: `Whole ${title} of ${length} bytes`, parts };
}

function unknown(size: number): Identification {
  const reason = size === 0 ? 'It is empty' : `Its ${size} bytes have no header yet`;
  return { kind: undefined, length: undefined, whole: false, state: 'unknown', reason, parts: [] };
}

function notAnImage(reason: string): Identification {
  return { kind: undefined, length: undefined, whole: false, state: 'not-an-image', reason, parts: [] };
}
