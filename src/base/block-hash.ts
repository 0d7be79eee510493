/**
 * The `content_hash` of Dropbox: the sha256 of the sha256 of each block of 4 MiB (dropbox.com/developers/reference/content-hash). It
 * has the methods of Node's own hashes.
 */
import { createHash, type Hash } from 'node:crypto';

const BLOCK = 4 * 1024 * 1024;

export class BlockHash {
  readonly #blocks = createHash('sha256');
  #block: Hash | undefined;
  /** Bytes of the block that is not complete. */
  #size = 0;

  update(bytes: Uint8Array): this {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + BLOCK - this.#size);
      this.#block ??= createHash('sha256');
      this.#block.update(part);
      this.#size += part.length;
      at += part.length;
      if (this.#size === BLOCK) this.#endBlock();
    }
    return this;
  }

  digest(encoding: 'hex'): string {
    this.#endBlock();
    return this.#blocks.digest(encoding);
  }

  #endBlock(): void {
    if (this.#block === undefined) return;
    this.#blocks.update(this.#block.digest());
    this.#block = undefined;
    this.#size = 0;
  }
}
