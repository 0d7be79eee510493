/**
 * Images whose bytes tell where they belong. A content is a SIF file, valid by its header, with a number of its own. Each page
 * of 4 KiB begins with that number and the page's own, and goes on with a key stream that follows from the seed and the
 * number: whoever reads a page can tell of which content and which offset it is, and whether each byte of it is right.
 *
 * A content that updates another one in place has its own pages where it was written and the other's everywhere else.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';

export const PAGE = 4096;

/** Pages at the start that an update leaves alone: the SIF header and its table. */
export const HEADER_PAGES = 2;

export interface Content {
  /** Number, from 1. */
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** What it updates, and the pages it writes: `first <= page < first + count`. */
  readonly update?: { readonly base: Content; readonly first: number; readonly count: number } | undefined;
}

/** The content that a page was written by. */
export function ownerOf({ id, update }: Content, page: number): number {
  if (update === undefined) return id;
  const { base, first, count } = update;
  return page >= first && page < first + count ? id : ownerOf(base, page);
}

const MAGIC = 'SRTORT01';
const MARK = 32;
/** In page 0 the mark stands behind the SIF header. */
const SIF_HEADER = 128;
/** Behind the mark of page 1. */
const TABLE = PAGE + MARK;
const DESCRIPTOR = 585;
const DATA = HEADER_PAGES * PAGE;
/** SIF's code of an object that is just data (github.com/apptainer/sif, descriptor.go). */
const GENERIC = 0x4007;
const CIPHER_BLOCK = 16;

/** The bytes of contents, for one seed. */
export class Bytes {
  readonly #seed: string;
  readonly #keys = new Map<number, Buffer>();

  constructor(seed: string) {
    this.#seed = seed;
  }

  /** `count` pages as content `id` writes them, from page `first` on; `size` is that of the whole content. */
  pages(id: number, size: number, first: number, count: number): Buffer {
    const counter = Buffer.alloc(CIPHER_BLOCK);
    counter.writeBigUInt64BE(BigInt(first * (PAGE / CIPHER_BLOCK)), 8);
    const bytes = createCipheriv('aes-128-ctr', this.#key(id), counter).update(Buffer.alloc(count * PAGE));
    for (let page = 0; page < count; page++) {
      const number = first + page;
      const at = page * PAGE;
      if (number === 0) writeSifHeader(bytes.subarray(at), size, id);
      if (number === 1) writeDescriptor(bytes.subarray(at + TABLE - PAGE), size, id);
      writeMark(bytes.subarray(number === 0 ? at + SIF_HEADER : at), id, number);
    }
    return bytes;
  }

  /** Bytes `offset` to `offset + length` of a content; less at its end. */
  read(content: Content, offset: number, length: number): Buffer {
    const end = Math.min(offset + length, content.size);
    if (end <= offset) return Buffer.alloc(0);
    const first = Math.floor(offset / PAGE);
    const last = Math.ceil(end / PAGE);
    const runs: Buffer[] = [];
    for (let page = first; page < last; ) {
      const owner = ownerOf(content, page);
      let next = page + 1;
      while (next < last && ownerOf(content, next) === owner) next++;
      runs.push(this.pages(owner, content.size, page, next - page));
      page = next;
    }
    const [only] = runs;
    const bytes = runs.length === 1 && only !== undefined ? only : Buffer.concat(runs);
    return bytes.subarray(offset - first * PAGE, end - first * PAGE);
  }

  /** Writes a content to a file; its sha256 in hex. */
  write(content: Content, path: string): string {
    const hash = createHash('sha256');
    const fd = openSync(path, 'w', 0o600);
    try {
      for (const piece of this.pieces(content)) {
        hash.update(piece);
        writeSync(fd, piece);
      }
    } finally {
      closeSync(fd);
    }
    return hash.digest('hex');
  }

  *pieces(content: Content, piece = 1024 * 1024): Generator<Buffer> {
    for (let offset = 0; offset < content.size; offset += piece) yield this.read(content, offset, piece);
  }

  sha256(content: Content): string {
    const hash = createHash('sha256');
    for (const piece of this.pieces(content)) hash.update(piece);
    return hash.digest('hex');
  }

  #key(id: number): Buffer {
    let key = this.#keys.get(id);
    if (key === undefined) {
      key = createHash('sha256').update(`${this.#seed}/${id}`).digest().subarray(0, CIPHER_BLOCK);
      this.#keys.set(id, key);
    }
    return key;
  }
}

/** What a page says of itself, where it has a mark. */
export function readMark(page: Uint8Array, number: number): { id: number; page: number } | undefined {
  const at = number === 0 ? SIF_HEADER : 0;
  const mark = Buffer.from(page.buffer, page.byteOffset + at, Math.max(0, Math.min(MARK, page.length - at)));
  if (mark.length < MARK || mark.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined;
  return { id: mark.readUInt32LE(8), page: mark.readUInt32LE(12) };
}

function writeMark(target: Buffer, id: number, page: number): void {
  target.write(MAGIC, 'latin1');
  target.writeUInt32LE(id, 8);
  target.writeUInt32LE(page, 12);
}

/** github.com/apptainer/sif, pkg/sif/sif.go: packed, little-endian. */
function writeSifHeader(target: Buffer, size: number, id: number): void {
  target.fill(0, 0, SIF_HEADER);
  target.write('#!/usr/bin/env run-singularity\n', 0, 'latin1');
  target.write('SIF_MAGIC\0', 32, 'latin1');
  target.write('01\0', 42, 'latin1');
  target.write('02\0', 45, 'latin1');
  target.writeUInt32LE(id, 48);
  for (const [at, value] of [
    [88, 1],
    [96, TABLE],
    [104, DESCRIPTOR],
    [112, DATA],
    [120, size - DATA],
  ] as const) {
    target.writeBigInt64LE(BigInt(value), at);
  }
}

/** pkg/sif/descriptor.go: one object, which is all of the data. */
function writeDescriptor(target: Buffer, size: number, id: number): void {
  target.fill(0, 0, DESCRIPTOR);
  target.writeInt32LE(GENERIC, 0);
  target.writeUInt8(1, 4);
  target.writeUInt32LE(1, 5);
  target.writeBigInt64LE(BigInt(DATA), 17);
  target.writeBigInt64LE(BigInt(size - DATA), 25);
  target.writeBigInt64LE(BigInt(size - DATA), 33);
  target.write(`content ${id}`, 73, 'latin1');
}
