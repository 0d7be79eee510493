/**
 * Compares what was read from one open file with the contents it may have. Each read leaves those candidates that explain it;
 * where none is left, the bytes are wrong, or they are of two revisions.
 */
import { type Bytes, type Content, ownerOf, PAGE, readMark } from './content.ts';

export interface Mismatch {
  /** Of the first page that nothing explains. */
  readonly offset: number;
  readonly found: string;
  /** The contents that explained all before. */
  readonly expected: string;
  /** Are these bytes those of a candidate, but for a few bits? */
  readonly isFlipped: boolean;
}

/** Bits that may differ in a page of which a faulty line has changed some. */
const FEW_BITS = 64;

export class Witness {
  readonly #bytes: Bytes;
  #candidates: readonly Content[];

  constructor(bytes: Bytes, candidates: readonly Content[]) {
    this.#bytes = bytes;
    this.#candidates = candidates;
  }

  get candidates(): readonly Content[] {
    return this.#candidates;
  }

  /** Looks at bytes that were read at `offset`. */
  see(data: Uint8Array, offset: number): Mismatch | undefined {
    const [only, ...others] = this.#candidates;
    if (only !== undefined && others.length === 0) {
      const expected = this.#bytes.read(only, offset, data.length);
      if (expected.equals(data)) return undefined;
    }
    for (let at = 0; at < data.length; ) {
      const page = Math.floor((offset + at) / PAGE);
      const end = Math.min(data.length, (page + 1) * PAGE - offset);
      const mismatch = this.#seePage(data.subarray(at, end), offset + at, page);
      if (mismatch !== undefined) return mismatch;
      at = end;
    }
    return undefined;
  }

  /** The file ended here, so its size is that. */
  end(size: number): Mismatch | undefined {
    const left = this.#candidates.filter((content) => content.size === size);
    if (left.length === 0) {
      const expected = this.#candidates.map(({ id, size }) => `content ${id} of ${size} bytes`).join(', ');
      return { offset: size, found: `the end, at ${size} bytes`, expected, isFlipped: false };
    }
    this.#candidates = left;
    return undefined;
  }

  #seePage(part: Uint8Array, offset: number, page: number): Mismatch | undefined {
    const mark = offset % PAGE === 0 ? readMark(part, page) : undefined;
    const tried = new Map<string, Buffer>();
    const left = this.#candidates.filter((content) => {
      if (offset + part.length > content.size) return false;
      const owner = ownerOf(content, page);
      if (mark !== undefined && mark.id !== owner) return false;
      const key = page < 2 ? `${owner}/${content.size}` : `${owner}`;
      let expected = tried.get(key);
      if (expected === undefined) {
        expected = this.#bytes.read(content, offset, part.length);
        tried.set(key, expected);
      }
      return expected.equals(part);
    });
    if (left.length > 0) {
      this.#candidates = left;
      return undefined;
    }
    const expected = `content ${this.#candidates.map(({ id }) => id).join(' or ')}, page ${page}`;
    const isFlipped = this.#candidates.some((content) => {
      const right = this.#bytes.read(content, offset, part.length);
      return right.length === part.length && differingBits(right, part) <= FEW_BITS;
    });
    return { offset, found: describePage(part, mark), expected, isFlipped };
  }
}

function describePage(part: Uint8Array, mark: ReturnType<typeof readMark>): string {
  if (mark !== undefined) return `content ${mark.id}, page ${mark.page}`;
  if (part.every((byte) => byte === 0)) return `${part.length} zeros`;
  const firstBytes = Buffer.from(part.subarray(0, 16)).toString('hex');
  return `${part.length} bytes that begin with ${firstBytes}`;
}

function differingBits(one: Uint8Array, other: Uint8Array): number {
  let bits = 0;
  for (let at = 0; at < one.length; at++) {
    let different = (one[at] ?? 0) ^ (other[at] ?? 0);
    for (; different !== 0; different &= different - 1) bits++;
    if (bits > FEW_BITS) return bits;
  }
  return bits;
}
