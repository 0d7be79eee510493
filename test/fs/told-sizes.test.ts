import { expect, test } from 'vitest';
import { ToldSizes } from '../../src/fs/told-sizes.ts';

/** Far longer than the test: what is awaited at once did not wait for it. */
const MOMENT = 60_000;

test('opening does not wait where the kernel knows the size, or nothing', async () => {
  const told = new ToldSizes(MOMENT);
  told.note('/lab/a:1.sif', 5);
  await told.settled('/lab/a:1.sif', 5);
  await told.settled('/lab/b:1.sif', 7);
});

test('opening waits until the kernel has forgotten another size, which a rename carries along', async () => {
  const told = new ToldSizes(50);
  told.note('/lab/a:1.sif', 5);
  told.rename('/lab/a:1.sif', '/lab/b:1.sif');
  const began = performance.now();
  await told.settled('/lab/a:1.sif', 7);
  await told.settled('/lab/b:1.sif', 7);
  expect(performance.now() - began).toBeGreaterThan(25);
});
