/**
 * Bytes that were handed out although the cache could not keep them, as the disk was full or the index was locked. They are
 * compared with the digest, too. When the last block of an image has been handed out, the image is fetched once more without
 * being kept. Its sha256 is compared with the digest, and the checksums of its blocks with those of the blocks that were handed
 * out and of those that the cache kept: a reader of the whole image got both. Later blocks are compared at once. If the image
 * is wrong the second time as well, nothing shows which bytes were right, so reading ends.
 */
import { createHash } from 'node:crypto';
import { SregistryError } from '../base/errors.ts';
import { SingleFlight } from '../base/single-flight.ts';
import { BLOCK_SIZE, type BlockMap, blocksOf, checksum } from './block-map.ts';
import { BlockWriter } from './block-writer.ts';
import { type Origin, receive } from './receive.ts';

/** Bytes of the largest image that is fetched again: a larger one would take longer than a read may. */
const LARGEST = 512 * 1024 * 1024;

export interface PassedOptions extends Origin {
  readonly size: number;
  readonly digest: string | undefined;
  /** Called with the bytes of each chunk that is to be handed out. */
  onBytes(bytes: number): void;
  /** Called when wrong bytes were handed out: from now on, opening the image fetches it anew. */
  retire(): void;
}

export class PassedBlocks {
  readonly #options: PassedOptions;
  /** Checksums of the blocks that were handed out. */
  readonly #handedOut = new Map<number, number>();
  /** Checksums of all blocks of the right image, once it was fetched again. */
  #right: readonly number[] | undefined;
  readonly #flight = new SingleFlight<void>();
  #failure: SregistryError | undefined;

  constructor(options: PassedOptions) {
    this.#options = options;
  }

  /** What every read throws once wrong bytes were handed out. */
  get failure(): SregistryError | undefined {
    return this.#failure;
  }

  /** Were bytes ever handed out? If not, nothing here says anything of the image. */
  get isUsed(): boolean {
    return this.isPending || this.#right !== undefined || this.#failure !== undefined;
  }

  /** Were blocks handed out that are not compared yet? */
  get isPending(): boolean {
    return this.#handedOut.size > 0;
  }

  /**
   * Reads `count` bytes at `offset` into `target`: fetches whole blocks from the service and notes their checksums. Throws
   * CORRUPT if the checksums differ from earlier ones; else the source's errors.
   */
  async read(target: Uint8Array, offset: number, count: number, signal: AbortSignal): Promise<void> {
    const { first, last } = blocksOf(offset, count);
    const start = first * BLOCK_SIZE;
    const end = Math.min(this.#options.size, (last + 1) * BLOCK_SIZE);
    const isAligned = start === offset && end === offset + count;
    const blocks = isAligned ? target.subarray(0, count) : Buffer.allocUnsafe(end - start);
    let done = 0;
    for await (const chunk of receive(this.#options, start, blocks.length, signal)) {
      blocks.set(chunk, done);
      done += chunk.length;
      this.#options.onBytes(chunk.length);
    }
    this.#note(first, blocks);
    if (!isAligned) target.set(blocks.subarray(offset - start, offset - start + count));
  }

  /** Notes whole blocks from block `first` on that are about to be handed out. */
  #note(first: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += BLOCK_SIZE) {
      const block = first + at / BLOCK_SIZE;
      const sum = checksum(bytes.subarray(at, at + BLOCK_SIZE));
      const known = this.#right?.[block] ?? this.#handedOut.get(block);
      if (known !== undefined && known !== sum) this.#fail();
      if (this.#right === undefined) this.#handedOut.set(block, sum);
    }
  }

  /** Can the image be compared now? It can once all of its blocks have been handed out or are in `map`. */
  isDue(map: BlockMap | undefined): boolean {
    const { digest, size } = this.#options;
    if (!this.isPending || digest === undefined || size > LARGEST) return false;
    const blocks = Math.ceil(size / BLOCK_SIZE);
    for (let block = 0; block < blocks; block += 1)
      if (!this.#handedOut.has(block) && !map?.has(block)) return false;
    return true;
  }

  /** Compares with a map whose blocks are known to be right. Throws CORRUPT if other bytes were handed out. */
  compareWith(map: BlockMap): void {
    const isWrong = [...this.#handedOut].some(([block, sum]) => !map.matches(block, sum));
    this.#handedOut.clear();
    if (isWrong) this.#fail();
  }

  /**
   * Fetches the image again and compares it with what was handed out, and with the blocks in `map`. Throws CORRUPT if they differ; else
   * the source's errors.
   */
  compare(map: BlockMap | undefined, signal: AbortSignal): Promise<void> {
    return this.#flight.join('image', (call) => this.#compare(map, call.signal), signal);
  }

  /** The blocks of `first..last` in `map` that are known to be wrong. */
  wrongIn(map: BlockMap, first: number, last: number): number[] {
    const wrong: number[] = [];
    if (this.#right === undefined) return wrong;
    for (let block = first; block <= last; block += 1)
      if (map.has(block) && !map.matches(block, this.#right[block] ?? 0)) wrong.push(block);
    return wrong;
  }

  async #compare(map: BlockMap | undefined, signal: AbortSignal): Promise<void> {
    const { digest } = this.#options;
    const { sha256, sums } = await this.#fetch(signal);
    if (sha256 !== digest) this.#fail(`the bytes received have ${sha256}, the service stated ${digest}`);
    const isWrong = [...this.#handedOut].some(([block, sum]) => sums[block] !== sum);
    this.#right = sums;
    this.#handedOut.clear();
    if (isWrong || (map !== undefined && this.wrongIn(map, 0, sums.length - 1).length > 0)) this.#fail();
  }

  async #fetch(signal: AbortSignal): Promise<{ sha256: string; sums: number[] }> {
    const { size } = this.#options;
    const hash = createHash('sha256');
    const sums: number[] = [];
    const write = async (chunks: readonly Uint8Array[]) => {
      for (const chunk of chunks) hash.update(chunk);
    };
    const writer = new BlockWriter({ size, write, mark: (_first, more) => void sums.push(...more) }, 0);
    for await (const chunk of receive(this.#options, 0, size, signal)) await writer.write([chunk]);
    return { sha256: `sha256:${hash.digest('hex')}`, sums };
  }

  #fail(why = 'wrong bytes arrived from the service'): never {
    this.#failure = new SregistryError('CORRUPT', `${this.#options.uri}: ${why}`, {
      hint: 'Open the image again to fetch it anew',
    });
    this.#options.retire();
    throw this.#failure;
  }
}
