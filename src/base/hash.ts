/**
 * Checksums of files, computed in a worker thread: a 10 GB image takes many seconds, and a mount must answer meanwhile.
 */
import { SregistryError } from './errors.ts';
import { entryModule } from './package.ts';

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

/** What the worker sends: progress, then one result or one failure. */
export type HashMessage =
  | { readonly done: number; readonly total: number }
  | { readonly hex: Readonly<Record<string, string>> }
  | { readonly failure: { readonly message: string; readonly code: string | undefined } };

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
  if (signal?.aborted) throw canceled(path, signal);
  const { Worker } = await import('node:worker_threads');
  const worker = new Worker(entryModule('base/hash-worker'), {
    workerData: { path, algorithms, start, end },
  });
  let cancel = () => {};
  try {
    return await new Promise((resolve, reject) => {
      cancel = () => reject(canceled(path, signal));
      signal?.addEventListener('abort', cancel);
      worker.on('message', (message: HashMessage) => {
        if ('hex' in message) resolve(message.hex as Record<A, string>);
        else if ('failure' in message)
          reject(Object.assign(new Error(message.failure.message), { code: message.failure.code }));
        else progress?.(message.done, message.total);
      });
      worker.on('error', reject);
      worker.on('exit', (code) => reject(new Error(`hashing ${path}: the worker ended with ${code}`)));
    });
  } finally {
    signal?.removeEventListener('abort', cancel);
    void worker.terminate();
  }
}

function canceled(path: string, signal: AbortSignal | undefined): SregistryError {
  return new SregistryError('CANCELED', `${path}: hashing was canceled`, { cause: signal?.reason });
}
