/** Turns a stream of bytes into blocks. A block is marked as present, with its checksum, when all of it is written. */
import { BLOCK_SIZE, checksum } from './block-map.ts';

/** What blocks are written to. */
export interface BlockTarget {
  /** Bytes of the image; the last block ends there. */
  readonly size: number;
  /** Writes chunks that follow each other, the first one at `offset`. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  mark(first: number, sums: readonly number[]): void;
}

export class BlockWriter {
  readonly #target: BlockTarget;
  #position: number;
  #sum = 0;

  constructor(target: BlockTarget, first: number) {
    this.#target = target;
    this.#position = first * BLOCK_SIZE;
  }

  /** Offset of the next byte. */
  get position(): number {
    return this.#position;
  }

  /** The next bytes, in chunks: several at once cost as much as one. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    await this.#target.write(chunks, this.#position);
    const first = Math.floor(this.#position / BLOCK_SIZE);
    const sums: number[] = [];
    for (const chunk of chunks) this.#sumUp(chunk, sums);
    if (sums.length > 0) this.#target.mark(first, sums);
  }

  /** Adds the checksums of the blocks that the chunk completes to `sums`. */
  #sumUp(chunk: Uint8Array, sums: number[]): void {
    for (let done = 0; done < chunk.length; ) {
      const end = Math.min(this.#target.size, (Math.floor(this.#position / BLOCK_SIZE) + 1) * BLOCK_SIZE);
      const part = chunk.subarray(done, done + end - this.#position);
      this.#sum = checksum(part, this.#sum);
      this.#position += part.length;
      done += part.length;
      if (this.#position < end) return;
      sums.push(this.#sum);
      this.#sum = 0;
    }
  }
}
