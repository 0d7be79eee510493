/** Writes a stream of metadata blocks (metadata.ts tells their form), and tables of them with an index of their positions. */
import { METADATA_SIZE, STORED_METADATA } from './metadata.ts';

/** Compresses one block; undefined where that makes it no smaller. */
export type CompressBlock = (bytes: Uint8Array) => Uint8Array | undefined;

/** A place in the stream: its metadata block, counted from the start of the stream, and the offset in it. */
export interface Place {
  readonly block: number;
  readonly offset: number;
}

export class MetadataWriter {
  readonly #compress: CompressBlock | undefined;
  readonly #current = new Uint8Array(METADATA_SIZE);
  #filled = 0;
  readonly #blocks: Uint8Array[] = [];
  #length = 0;

  constructor(compress: CompressBlock | undefined) {
    this.#compress = compress;
  }

  /** Where the next byte will be. */
  get place(): Place {
    return { block: this.#length, offset: this.#filled };
  }

  append(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const part = Math.min(METADATA_SIZE - this.#filled, bytes.length - done);
      this.#current.set(
        done === 0 && part === bytes.length ? bytes : bytes.subarray(done, done + part),
        this.#filled,
      );
      this.#filled += part;
      done += part;
      if (this.#filled === METADATA_SIZE) this.#flush();
    }
  }

  /** The whole stream. Nothing can be appended behind. */
  finish(): { readonly bytes: Uint8Array; readonly blocks: readonly number[] } {
    if (this.#filled > 0) this.#flush();
    const blocks: number[] = [];
    let at = 0;
    for (const block of this.#blocks) {
      blocks.push(at);
      at += block.length;
    }
    return { bytes: Buffer.concat(this.#blocks), blocks };
  }

  #flush(): void {
    const data = this.#current.subarray(0, this.#filled);
    const packed = this.#compress?.(data);
    const stored = packed ?? data;
    const block = new Uint8Array(2 + stored.length);
    const header = stored.length | (packed === undefined ? STORED_METADATA : 0);
    block[0] = header & 0xff;
    block[1] = header >>> 8;
    block.set(stored, 2);
    this.#blocks.push(block);
    this.#length += block.length;
    this.#filled = 0;
  }
}

/** A table of equal entries (ids, exports, fragments): metadata blocks from `position`, then the position of each. */
export function writeTable(
  entries: Uint8Array,
  position: number,
  compress: CompressBlock | undefined,
): { readonly bytes: Uint8Array; readonly start: number } {
  const writer = new MetadataWriter(compress);
  writer.append(entries);
  const { bytes, blocks } = writer.finish();
  const index = new DataView(new ArrayBuffer(blocks.length * 8));
  for (const [i, block] of blocks.entries()) index.setBigUint64(i * 8, BigInt(position + block), true);
  return { bytes: Buffer.concat([bytes, new Uint8Array(index.buffer)]), start: position + bytes.length };
}

/** Little-endian fields one behind the other; grows as needed. */
export class FieldWriter {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What was written since the last `clear`; valid until the next write. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  clear(): this {
    this.#length = 0;
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(value: number): this {
    const at = this.#grow(8);
    this.#view.setUint32(at, value % 2 ** 32, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
    return this;
  }

  /** A byte string. */
  text(value: string): this {
    const at = this.#grow(value.length);
    for (let i = 0; i < value.length; i++) this.#bytes[at + i] = value.charCodeAt(i);
    return this;
  }

  /** Overwrites a field written before. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  #grow(by: number): number {
    const at = this.#length;
    this.#length += by;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
