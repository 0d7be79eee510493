/** Readers that read parts of images at their leisure, many in one process, until they are killed. Any error ends it. */
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from './random.ts';

/** Milliseconds between two reads of one reader. */
const PAUSE = 100;
const PIECE = 128 * 1024;

const [seed = '', readers = '1', ...paths] = process.argv.slice(2);
const random = new Random(seed);
await Promise.all(Array.from({ length: Number(readers) }, readOn));

async function readOn(): Promise<void> {
  const buffer = Buffer.alloc(PIECE);
  for (;;) {
    await using file = await open(random.pick(paths), 'r');
    const { size } = await file.stat();
    const isSequential = random.chance(0.5);
    for (let i = 0; i < 20; i++) {
      await file.read(buffer, 0, PIECE, isSequential ? i * PIECE : random.integer(0, size));
      await sleep(PAUSE);
    }
  }
}
