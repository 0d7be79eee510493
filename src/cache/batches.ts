/**
 * Writes a stream of chunks in batches: what arrives while a batch is written makes the next one. So receiving and writing overlap,
 * and a fast source costs one call for several chunks. A source that is faster than the disk waits for it.
 */
export class Batches {
  readonly #largest: number;
  readonly #write: (chunks: readonly Uint8Array[]) => Promise<void>;
  #waiting: Uint8Array[] = [];
  /** Bytes in {@link #waiting}. */
  #bytes = 0;
  /** The writes under way. Rejects only through {@link add} and {@link end}. */
  #writing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** `largest`: bytes that may wait. `write` is called for one batch at a time, in order. */
  constructor(largest: number, write: (chunks: readonly Uint8Array[]) => Promise<void>) {
    this.#largest = largest;
    this.#write = write;
  }

  /** Takes the next chunk. Resolves when there is room for another one. Throws what writing threw. */
  async add(chunk: Uint8Array): Promise<void> {
    this.#check();
    this.#waiting.push(chunk);
    this.#bytes += chunk.length;
    this.#writing ??= this.#run();
    if (this.#bytes >= this.#largest) await this.#writing;
    this.#check();
  }

  /** Resolves when nothing is written any more. Throws what writing threw. */
  async end(): Promise<void> {
    await this.#writing;
    this.#check();
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#waiting;
        this.#waiting = [];
        this.#bytes = 0;
        await this.#write(batch);
      }
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.#writing = undefined;
    }
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
