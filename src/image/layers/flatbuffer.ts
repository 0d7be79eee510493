/**
 * Reads tables of FlatBuffers (flatbuffers.dev, "FlatBuffer Internals") without trusting them: every place is checked before it is
 * read. The library of the format reads what lies outside as zeros, and follows any length.
 */
import { malformed } from '../binary.ts';

export class FlatTable {
  readonly #bytes: Buffer;
  readonly #at: number;
  readonly #fields: number;
  readonly #count: number;

  private constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#fields = at - check(bytes, at, 4).readInt32LE(at);
    const size = check(bytes, this.#fields, 4).readUInt16LE(this.#fields);
    check(bytes, this.#fields, size);
    this.#count = (size - 4) >> 1;
  }

  /** The root of a buffer. @throws {SregistryError} NOT_AN_IMAGE if it has none. */
  static root(bytes: Buffer): FlatTable {
    return new FlatTable(bytes, follow(bytes, 0));
  }

  /** A number of 8 bits, `otherwise` without the field. Fields have numbers from 0, in the order of the schema. */
  byte(field: number, otherwise: number): number {
    const at = this.#find(field, 1);
    return at === undefined ? otherwise : this.#bytes.readInt8(at);
  }

  int32(field: number): number {
    const at = this.#find(field, 4);
    return at === undefined ? 0 : this.#bytes.readInt32LE(at);
  }

  uint32(field: number): number {
    const at = this.#find(field, 4);
    return at === undefined ? 0 : this.#bytes.readUInt32LE(at);
  }

  /** A number of 64 bits. @throws {SregistryError} NOT_AN_IMAGE if it is negative or not exact. */
  size(field: number): number {
    const at = this.#find(field, 8);
    const value = at === undefined ? 0 : Number(this.#bytes.readBigInt64LE(at));
    if (!Number.isSafeInteger(value) || value < 0)
      throw malformed(`a table gives an impossible number: ${value}`);
    return value;
  }

  /** A string as a byte string: one character (0 to 255) for each byte. Empty without the field. */
  text(field: number): string {
    return this.bytes(field).toString('latin1');
  }

  /** A string, or a vector of bytes. */
  bytes(field: number): Buffer {
    const at = this.#find(field, 4);
    return at === undefined ? Buffer.alloc(0) : vector(this.#bytes, follow(this.#bytes, at), 1);
  }

  table(field: number): FlatTable | undefined {
    const at = this.#find(field, 4);
    return at === undefined ? undefined : new FlatTable(this.#bytes, follow(this.#bytes, at));
  }

  /** A vector of tables. */
  *tables(field: number): Generator<FlatTable> {
    for (const at of this.#elements(field)) yield new FlatTable(this.#bytes, follow(this.#bytes, at));
  }

  /** A vector of strings. */
  *texts(field: number): Generator<string> {
    for (const at of this.#elements(field))
      yield vector(this.#bytes, follow(this.#bytes, at), 1).toString('latin1');
  }

  /** How many elements a vector of tables or strings has. */
  count(field: number): number {
    const at = this.#find(field, 4);
    return at === undefined ? 0 : vector(this.#bytes, follow(this.#bytes, at), 4).length / 4;
  }

  *#elements(field: number): Generator<number> {
    const at = this.#find(field, 4);
    if (at === undefined) return;
    const first = follow(this.#bytes, at) + 4;
    const count = this.count(field);
    for (let i = 0; i < count; i += 1) yield first + 4 * i;
  }

  /** Where the value of a field is; undefined if the field is absent. */
  #find(field: number, size: number): number | undefined {
    if (field >= this.#count) return undefined;
    const offset = this.#bytes.readUInt16LE(this.#fields + 4 + 2 * field);
    if (offset === 0) return undefined;
    check(this.#bytes, this.#at + offset, size);
    return this.#at + offset;
  }
}

/** The place to which the offset at `at` leads. */
function follow(bytes: Buffer, at: number): number {
  return at + check(bytes, at, 4).readUInt32LE(at);
}

/** The elements of a vector, of `size` bytes each. */
function vector(bytes: Buffer, at: number, size: number): Buffer {
  const length = check(bytes, at, 4).readUInt32LE(at) * size;
  return check(bytes, at + 4, length).subarray(at + 4, at + 4 + length);
}

/** The buffer, if it has `size` bytes at `at`. */
function check(bytes: Buffer, at: number, size: number): Buffer {
  if (at < 0 || at + size > bytes.length) throw malformed('a table leads out of its file');
  return bytes;
}
