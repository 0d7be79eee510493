/** The worker thread of hash.ts. It reads a file with blocking calls, which block only this thread. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { BlockHash } from './block-hash.ts';
import { systemCode } from './errors.ts';
import type { HashMessage } from './hash.ts';

/** Bytes per read: few system calls, and a buffer that stays in the processor's cache. */
const CHUNK = 1024 * 1024;
/** Bytes between two messages of progress. */
const STEP = 32 * 1024 * 1024;

function send(message: HashMessage): void {
  parentPort?.postMessage(message);
}

interface Work {
  readonly path: string;
  readonly algorithms: readonly string[];
  readonly start: number;
  /** Default: the end of the file. */
  readonly end?: number | undefined;
}

function hash({ path, algorithms, start, end }: Work): Record<string, string> {
  const file = openSync(path, 'r');
  try {
    const total = Math.max(0, (end ?? fstatSync(file).size) - start);
    const hashes = algorithms.map((algorithm): Pick<BlockHash, 'update' | 'digest'> | Hash =>
      algorithm === 'blocks' ? new BlockHash() : createHash(algorithm),
    );
    const buffer = Buffer.allocUnsafe(CHUNK);
    let done = 0;
    // Without an end, read to the end of the file at that time.
    const next = () =>
      readSync(file, buffer, 0, end === undefined ? CHUNK : Math.min(CHUNK, total - done), start + done);
    for (let n = next(); n > 0; n = next()) {
      for (const one of hashes) one.update(buffer.subarray(0, n));
      if (Math.floor(done / STEP) !== Math.floor((done + n) / STEP)) send({ done: done + n, total });
      done += n;
    }
    send({ done, total });
    return Object.fromEntries(
      algorithms.map((algorithm, i) => [algorithm, String(hashes[i]?.digest('hex') ?? '')]),
    );
  } finally {
    closeSync(file);
  }
}

try {
  send({ hex: hash(workerData) });
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  send({ failure: { message, code: systemCode(error) } });
}
