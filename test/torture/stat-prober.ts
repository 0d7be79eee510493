/**
 * Measures how long `stat` takes: of one path after another, and of none again before the kernel has forgotten what it knew of it.
 * Tells the milliseconds of each when its parent disconnects it with a message.
 */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds for which the kernel answers by itself (attr_timeout of FUSE, 1 s), and some more. */
const KERNEL_MEMORY = 1_200;

const paths = process.argv.slice(2);
const took: number[] = [];
let isOver = false;
process.once('message', () => {
  isOver = true;
});

while (!isOver) {
  for (const path of paths) {
    const began = performance.now();
    statSync(path);
    took.push(performance.now() - began);
    await sleep(KERNEL_MEMORY / paths.length);
    if (isOver) break;
  }
}
process.send?.(took, () => process.disconnect());
