/** Reads a ztoc in another thread: one of a hundred thousand files takes a second. */
import { entryModule } from '../../base/package.ts';
import { runJob } from '../../base/threads.ts';

/** What a ztoc tells, in the forms in which it is kept. */
export interface IndexedZtoc {
  /** See packed-entries.ts. */
  readonly entries: Uint8Array;
  /** Points as restart-file.ts has them, with the digests of their bytes of the blob; the size is the least that it can be. */
  readonly points: Uint8Array;
}

const JOB = entryModule('image/layers/index-ztoc-job');

/** Errors as `parseZtoc`. */
export function indexZtoc(ztoc: Uint8Array, signal: AbortSignal): Promise<IndexedZtoc> {
  return runJob<Uint8Array, IndexedZtoc>(JOB, ztoc, { signal });
}
