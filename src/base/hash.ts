/**
 * Checksums of files, computed in another thread: a 10 GB image takes many seconds, and a mount must answer meanwhile.
 */
import { SregistryError } from './errors.ts';
import { entryModule } from './package.ts';
import { startJob } from './threads.ts';

export interface HashOptions {
  /** Called with the bytes done and the total. */
  readonly progress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** First byte to hash, and the one after the last. Default: the whole file. */
  readonly start?: number | undefined;
  readonly end?: number | undefined;
}

/** `blocks` is the hash of block-hash.ts. */
export type Algorithm = 'sha256' | 'md5' | 'blocks';

/** What the job is given. */
export interface HashWork {
  readonly path: string;
  readonly algorithms: readonly Algorithm[];
  readonly start: number;
  /** Default: the end of the file. */
  readonly end: number | undefined;
}

/** What the job tells meanwhile, in bytes. */
export interface HashProgress {
  readonly done: number;
  readonly total: number;
}

const JOB = entryModule('base/hash-job');

/** `sha256:<64 hex>` of a file. Throws Node's own error (`ENOENT`, ...) or CANCELED. */
export async function sha256File(path: string, options: HashOptions = {}): Promise<string> {
  return `sha256:${(await hashFile(path, ['sha256'], options)).sha256}`;
}

/** Several hashes of a file, or of a part of it, in hexadecimal, from reading it once. Errors as for {@link sha256File}. */
export async function hashFile<A extends Algorithm>(
  path: string,
  algorithms: readonly A[],
  { progress, signal, start = 0, end }: HashOptions = {},
): Promise<Readonly<Record<A, string>>> {
  const onMessage = ({ done, total }: HashProgress) => progress?.(done, total);
  try {
    const work: HashWork = { path, algorithms, start, end };
    return await startJob<HashWork, Record<A, string>, never, HashProgress>(JOB, work, { signal, onMessage })
      .result;
  } catch (error) {
    if (!signal?.aborted) throw error;
    throw new SregistryError('CANCELED', `${path}: hashing was canceled`, { cause: signal.reason });
  }
}
