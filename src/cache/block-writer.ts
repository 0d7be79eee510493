/** Turns a stream of bytes into blocks. A block is marked as present, with its checksum, when all of it is written. */
import { BLOCK_SIZE, checksum } from './block-map.ts';

/** What blocks are written to. */
export interface BlockTarget {
  /** Bytes of the image; the last block ends there. */
  readonly size: number;
  write(chunk: Uint8Array, offset: number): Promise<void>;
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

  async write(chunk: Uint8Array): Promise<void> {
    await this.#target.write(chunk, this.#position);
    const first = Math.floor(this.#position / BLOCK_SIZE);
    const sums: number[] = [];
    for (let done = 0; done < chunk.length; ) {
      const end = Math.min(this.#target.size, (Math.floor(this.#position / BLOCK_SIZE) + 1) * BLOCK_SIZE);
      const part = chunk.subarray(done, done + end - this.#position);
      this.#sum = checksum(part, this.#sum);
      this.#position += part.length;
      done += part.length;
      if (this.#position < end) break;
      sums.push(this.#sum);
      this.#sum = 0;
    }
    if (sums.length > 0) this.#target.mark(first, sums);
  }
}
