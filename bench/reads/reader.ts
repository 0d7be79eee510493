/**
 * Reads a file and prints what that took, as JSON. It runs in a process of its own, so that only the reading counts:
 *
 * - `node reader.ts sequential FILE`: seconds to read it from beginning to end;
 * - `node reader.ts random FILE READERS SECONDS`: reads of 4 KiB in a second, by so many threads together.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Worker, workerData } from 'node:worker_threads';

const MIB = 1024 * 1024;
const PAGE = 4096;

interface Work {
  readonly file: string;
  readonly seconds: number;
  readonly seed: number;
  /** How many reads each thread did. */
  readonly counts: Int32Array;
}

function sequential(file: string): number {
  const buffer = Buffer.allocUnsafe(MIB);
  const began = performance.now();
  const fd = openSync(file, 'r');
  while (readSync(fd, buffer, 0, MIB, null) > 0);
  closeSync(fd);
  return (performance.now() - began) / 1000;
}

async function random(file: string, readers: number, seconds: number): Promise<number> {
  const counts = new Int32Array(new SharedArrayBuffer(4 * readers));
  const threads = Array.from({ length: readers }, (_, seed) => {
    const work: Work = { file, seconds, seed, counts };
    const worker = new Worker(new URL(import.meta.url), { workerData: work });
    return new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
  });
  await Promise.all(threads);
  return counts.reduce((sum, count) => sum + count, 0) / seconds;
}

function readRandomly({ file, seconds, seed, counts }: Work): void {
  const buffer = Buffer.allocUnsafe(PAGE);
  const fd = openSync(file, 'r');
  const pages = Math.floor(fstatSync(fd).size / PAGE);
  const end = performance.now() + seconds * 1000;
  // A full-period generator (Numerical Recipes): the same pages in each run, none of them twice in a row.
  let state = seed + 1;
  let count = 0;
  while (performance.now() < end) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    readSync(fd, buffer, 0, PAGE, Math.floor((state / 2 ** 32) * pages) * PAGE);
    count += 1;
  }
  closeSync(fd);
  counts[seed] = count;
}

if (workerData !== null) readRandomly(workerData as Work);
else {
  const [how, file = '', readers = '1', seconds = '1'] = process.argv.slice(2);
  const result = how === 'random' ? await random(file, Number(readers), Number(seconds)) : sequential(file);
  console.log(JSON.stringify(result));
}
