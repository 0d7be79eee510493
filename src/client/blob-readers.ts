/**
 * Who can read the blobs of open images. Images share layers, and one image may be open through several registries. What one of them
 * does not give, another does: whoever asks compares the bytes with digests.
 */
import { NoRangesError } from '../backends/http.ts';
import type { ReadBlob } from '../image/layers/spans.ts';

interface Offer {
  /** The service that the reader asks. */
  readonly service: object;
  readonly read: ReadBlob;
}

export class BlobReaders {
  /** By the blob's digest. */
  readonly #offers = new Map<string, Set<Offer>>();

  /** Lets others read a blob by this reader as well, until the function is called that this returns. */
  offer(digest: string, service: object, read: ReadBlob): () => void {
    const offers = this.#offers.get(digest) ?? new Set();
    const offer = { service, read };
    this.#offers.set(digest, offers.add(offer));
    return () => {
      offers.delete(offer);
      if (offers.size === 0 && this.#offers.get(digest) === offers) this.#offers.delete(digest);
    };
  }

  /**
   * Reads by `own`, and where that fails by what others offer of other services, each service once. The error is that of `own` if
   * none of them can.
   */
  withOthers(digest: string, service: object, own: ReadBlob): ReadBlob {
    return async (offset, length, signal) => {
      try {
        return await own(offset, length, signal);
      } catch (error) {
        if (signal.aborted || error instanceof NoRangesError) throw error;
        const asked = new Set([service]);
        for (const other of this.#offers.get(digest) ?? []) {
          if (asked.has(other.service)) continue;
          asked.add(other.service);
          try {
            return await other.read(offset, length, signal);
          } catch (failure) {
            // The caller knows how to read without ranges.
            if (signal.aborted || failure instanceof NoRangesError) throw failure;
          }
        }
        throw error;
      }
    };
  }
}
