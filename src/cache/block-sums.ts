/** The checksum of each block of a file, from its bytes as they stream by. */
import { BLOCK_SIZE, checksum } from './block-map.ts';

export class BlockSums {
  readonly #sums: number[] = [];
  #sum = 0;
  #filled = 0;

  /** The next bytes of the file. */
  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + BLOCK_SIZE - this.#filled);
      this.#sum = checksum(part, this.#sum);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === BLOCK_SIZE) this.#flush();
    }
  }

  /** Of all blocks; the last one may be short. Nothing follows. */
  finish(): readonly number[] {
    if (this.#filled > 0) this.#flush();
    return this.#sums;
  }

  #flush(): void {
    this.#sums.push(this.#sum);
    this.#sum = 0;
    this.#filled = 0;
  }
}
