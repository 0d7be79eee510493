/**
 * The header of 512 bytes in front of each entry of a tar archive, in the forms in use: POSIX ustar, GNU, star, and the
 * nameless one before them (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"; libarchive
 * tar(5)). Strict: a checksum or number that is not right is an error, as everything behind it would be guesswork.
 */
import { malformed } from '../binary.ts';

export const BLOCK = 512;
const CHECKSUM_AT = 148;
const CHECKSUM_END = 156;
const SPACE = 0x20;
/** Set in the first byte of a number that is binary, as GNU and star write those that octal digits cannot hold. */
const BINARY = 0x80;

/** Names a header in errors. */
export type Where = () => string;

export interface TarHeader {
  /** The name with its prefix, as a byte string. */
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly modified: number;
  /** The character that tells the type; NUL in old archives, where it is a file, or a directory if its name ends with `/`. */
  readonly type: string;
  readonly link: string;
  readonly major: number;
  readonly minor: number;
  readonly form: 'v7' | 'ustar' | 'gnu' | 'star';
}

/** Is a block the mark of the archive's end? */
export function isZeroBlock(block: Uint8Array): boolean {
  for (let i = 0; i < BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/**
 * @param where names the header in errors.
 * @throws {SregistryError} NOT_AN_IMAGE if the checksum or a number is wrong.
 */
export function parseHeader(bytes: Buffer, where: Where): TarHeader {
  verifyChecksum(bytes, where);
  const form = formOf(bytes);
  const number = (at: number, length: number, field: string) =>
    parseNumber(bytes, at, length, () => `${where()} gives an impossible ${field}`);
  const type = bytes.toString('latin1', 156, 157);
  const isDevice = form !== 'v7' && (type === '3' || type === '4');
  return {
    name: nameOf(bytes, form),
    mode: number(100, 8, 'mode'),
    uid: number(108, 8, 'user'),
    gid: number(116, 8, 'group'),
    size: number(124, 12, 'size'),
    modified: number(136, 12, 'time'),
    type,
    link: textAt(bytes, 157, 100),
    major: isDevice ? number(329, 8, 'device') : 0,
    minor: isDevice ? number(337, 8, 'device') : 0,
    form,
  };
}

/** The text of a field up to its first NUL, as a byte string. */
export function textAt(bytes: Buffer, at: number, length: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('latin1', at, end < 0 || end > at + length ? at + length : end);
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}

/** A number of a header: octal digits between spaces and NULs, or binary (big-endian, with a sign). */
export function parseNumber(bytes: Uint8Array, at: number, length: number, message: () => string): number {
  const first = bytes[at] as number;
  if ((first & BINARY) !== 0) return parseBinary(bytes, at, length, message);
  let [i, end] = [at, at + length];
  while (i < end && isBlank(bytes[i])) i++;
  while (end > i && isBlank(bytes[end - 1])) end--;
  let value = 0;
  for (; i < end; i++) {
    const digit = (bytes[i] as number) - 0x30;
    // Digits end at the first blank: some writers leave what was there before.
    if (isBlank(bytes[i])) break;
    if (digit < 0 || digit > 7) throw malformed(message());
    value = value * 8 + digit;
  }
  return value;
}

function parseBinary(bytes: Uint8Array, at: number, length: number, message: () => string): number {
  const isNegative = ((bytes[at] as number) & 0x40) !== 0;
  let value = 0;
  for (let i = at; i < at + length; i++) {
    let byte = bytes[i] as number;
    if (i === at) byte &= 0x7f;
    if (isNegative) byte ^= i === at ? 0x7f : 0xff;
    value = value * 256 + byte;
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(message());
  }
  return isNegative ? -value - 1 : value;
}

/** The sum of all bytes with the checksum as spaces. Some old writers summed signed bytes. */
function verifyChecksum(block: Buffer, where: Where): void {
  const wanted = parseNumber(
    block,
    CHECKSUM_AT,
    CHECKSUM_END - CHECKSUM_AT,
    () => `${where()} has no checksum`,
  );
  let sum = sumBytes(block);
  for (let i = CHECKSUM_AT; i < CHECKSUM_END; i++) sum += SPACE - (block[i] as number);
  if (wanted === sum) return;
  let negative = 0;
  for (let i = 0; i < BLOCK; i++) {
    if ((block[i] as number) >= 0x80 && (i < CHECKSUM_AT || i >= CHECKSUM_END)) negative += 1;
  }
  if (wanted !== sum - 256 * negative) throw malformed(`${where()} has a wrong checksum`);
}

/** Four bytes at a time, two in each half of a word: 65,280 is the most that a half can get. */
function sumBytes(block: Buffer): number {
  if (block.byteOffset % 4 !== 0) return sumBytes(Buffer.from(new Uint8Array(block)));
  const words = new Uint32Array(block.buffer, block.byteOffset, BLOCK / 4);
  let sums = 0;
  for (let i = 0; i < BLOCK / 4; i++) {
    const word = words[i] as number;
    sums = (sums + (word & 0xff00ff) + ((word >>> 8) & 0xff00ff)) | 0;
  }
  return (sums & 0xffff) + (sums >>> 16);
}

function formOf(bytes: Buffer): TarHeader['form'] {
  const magic = bytes.toString('latin1', 257, 265);
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return bytes.toString('latin1', 508, 512) === 'tar\0' ? 'star' : 'ustar';
}

/** In GNU's form other things are where the prefix is; star's is shorter. */
function nameOf(bytes: Buffer, form: TarHeader['form']): string {
  const name = textAt(bytes, 0, 100);
  if (form !== 'ustar' && form !== 'star') return name;
  const prefix = textAt(bytes, 345, form === 'star' ? 131 : 155);
  return prefix === '' ? name : `${prefix}/${name}`;
}
