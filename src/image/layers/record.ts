/**
 * Records the restart points of a layer in another thread, while the layer is fetched. It never delays the fetch: if the thread falls
 * too far behind, the recording ends without a result, and so it does if the blob has no good points.
 */
import { isError } from '../../base/errors.ts';
import { entryModule } from '../../base/package.ts';
import { type Job, startJob } from '../../base/threads.ts';

/** What the job is given. */
export interface RecorderWork {
  /** The file of the archive: it exists, and grows. */
  readonly path: string;
  /** `sha256:<hex>` of the archive. */
  readonly diffId: string;
}

/** What the job is sent: the blob in pieces, then the news that the archive is whole and right. */
export type ToRecorder = Uint8Array | 'end';

/** Bytes that may wait for the thread. */
const MAX_WAITING = 64 * 1024 * 1024;

const JOB = entryModule('image/layers/points-job');

export class PointRecorder implements Disposable {
  readonly #stop = new AbortController();
  readonly #job: Job<Uint8Array, ToRecorder>;
  #waiting = 0;
  #hasFailed = false;

  constructor({ path, diffId }: RecorderWork) {
    const onMessage = (taken: number) => {
      this.#waiting -= taken;
    };
    this.#job = startJob(JOB, { path, diffId }, { signal: this.#stop.signal, onMessage });
    this.#job.result.catch(() => {
      this.#hasFailed = true;
    });
  }

  /** Takes the next bytes of the blob. */
  push(chunk: Uint8Array): void {
    if (this.#stop.signal.aborted || this.#hasFailed) return;
    this.#waiting += chunk.length;
    if (this.#waiting > MAX_WAITING) {
      this[Symbol.dispose]();
      return;
    }
    const bytes = new Uint8Array(chunk);
    this.#job.send(bytes, [bytes.buffer]);
  }

  /** The archive is whole, and was compared with its digest. Gives the points as a file, see restart-file.ts; undefined: none. */
  async finish(): Promise<Uint8Array | undefined> {
    if (!this.#stop.signal.aborted) this.#job.send('end');
    try {
      return await this.#job.result;
    } catch (error) {
      if (this.#stop.signal.aborted || isError(error, 'NOT_AN_IMAGE')) return undefined;
      throw error;
    }
  }

  /** Ends the recording. */
  [Symbol.dispose](): void {
    this.#stop.abort();
  }
}
