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

test('opening waits as well for another size that the kernel is told of while it waits', async () => {
  const told = new ToldSizes(50);
  told.note('/lab/a:1.sif', 5);
  const began = performance.now();
  setTimeout(() => told.note('/lab/a:1.sif', 6), 30);
  await told.settled('/lab/a:1.sif', 7);
  expect(performance.now() - began).toBeGreaterThan(75);
});

test('opening does not forget what the kernel was told of while it waited', async () => {
  const told = new ToldSizes(500);
  told.note('/lab/a:1.sif', 5);
  setTimeout(() => told.note('/lab/a:1.sif', 7), 450);
  await told.settled('/lab/a:1.sif', 7);
  const began = performance.now();
  await told.settled('/lab/a:1.sif', 8);
  expect(performance.now() - began).toBeGreaterThan(50);
});

test('opening does not wait for ever where the kernel is told of other sizes again and again', async () => {
  const told = new ToldSizes(10);
  told.note('/lab/a:1.sif', 5);
  const teller = setInterval(() => told.note('/lab/a:1.sif', 5), 1);
  await told.settled('/lab/a:1.sif', 7);
  clearInterval(teller);
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
