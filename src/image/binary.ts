/**
 * Reads little-endian fields of on-disk structures without trusting them. A number must be one that JavaScript represents
 * exactly.
 */
import { SregistryError } from '../base/errors.ts';

/** The error of a header that cannot be right. `why` names structure and field. */
export function malformed(why: string, cause?: unknown): SregistryError {
  return new SregistryError('NOT_AN_IMAGE', why, {
    cause,
    hint: 'The file is damaged or is not a container image; download it again',
  });
}

/** Fields of one structure, by their byte offset in it. */
export class Fields {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;

  /** @param what names the structure in errors: `SIF header`. */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }

  i16(at: number): number {
    return this.#view.getInt16(at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  i32(at: number): number {
    return this.#view.getInt32(at, true);
  }

  /** Any signed 64-bit value, such as a time. */
  i64(at: number): bigint {
    return this.#view.getBigInt64(at, true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }

  /** A size, count or offset of 64 bits. @throws {SregistryError} NOT_AN_IMAGE when negative or beyond 2^53. */
  size(at: number, field: string): number {
    const value = this.i64(at);
    if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
      throw malformed(`The ${this.#what} gives an impossible ${field}: ${value}`);
    return Number(value);
  }

  /** Text up to the first NUL, at most `length` bytes. */
  text(at: number, length: number): string {
    const bytes = this.bytes.subarray(at, at + length);
    const end = bytes.indexOf(0);
    return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString();
  }
}

/** Does `bytes` hold `text` (Latin-1) at `offset`? */
export function startsWith(bytes: Uint8Array, text: string, offset = 0): boolean {
  return (
    bytes.length >= offset + text.length &&
    Buffer.from(text, 'latin1').equals(bytes.subarray(offset, offset + text.length))
  );
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
