/** The job of hash.ts. */
import { createHash, type Hash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { BlockHash } from './block-hash.ts';
import type { HashProgress, HashWork } from './hash.ts';
import type { JobContext } from './threads.ts';

/** Bytes per read: few system calls, and a buffer that stays in the processor's cache. */
const CHUNK = 1024 * 1024;
/** Bytes between two messages of progress. */
const STEP = 32 * 1024 * 1024;

export async function run(
  { path, algorithms, start, end }: HashWork,
  { signal, send }: JobContext<never, HashProgress>,
): Promise<Readonly<Record<string, string>>> {
  await using file = await open(path, 'r');
  const total = Math.max(0, (end ?? (await file.stat()).size) - start);
  const hashes = algorithms.map((algorithm): Pick<BlockHash, 'update' | 'digest'> | Hash =>
    algorithm === 'blocks' ? new BlockHash() : createHash(algorithm),
  );
  const buffer = Buffer.allocUnsafe(CHUNK);
  let done = 0;
  // Without an end, read to the end of the file at that time.
  const next = async () => {
    signal.throwIfAborted();
    const length = end === undefined ? CHUNK : Math.min(CHUNK, total - done);
    return (await file.read(buffer, 0, length, start + done)).bytesRead;
  };
  for (let n = await next(); n > 0; n = await next()) {
    for (const one of hashes) one.update(buffer.subarray(0, n));
    if (Math.floor(done / STEP) !== Math.floor((done + n) / STEP)) send({ done: done + n, total });
    done += n;
  }
  send({ done, total });
  return Object.fromEntries(
    algorithms.map((algorithm, i) => [algorithm, String(hashes[i]?.digest('hex') ?? '')]),
  );
}
