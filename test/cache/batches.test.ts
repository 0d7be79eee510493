import { expect, test } from 'vitest';
import { Batches } from '../../src/cache/batches.ts';

const chunk = (value: number, length = 1) => new Uint8Array(length).fill(value);

test('What arrives while a batch is written makes the next batch, in order.', async () => {
  const written: number[][] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const batches = new Batches(100, (chunks) => {
    written.push(chunks.map((each) => each[0] ?? -1));
    const gate = Promise.withResolvers<void>();
    gates.push(gate);
    return gate.promise;
  });
  for (const value of [1, 2, 3]) await batches.add(chunk(value));
  expect(written).toEqual([[1]]);
  gates[0]?.resolve();
  await expect.poll(() => written).toEqual([[1], [2, 3]]);
  const ended = batches.end();
  gates[1]?.resolve();
  await ended;
});

test('A source that is faster than the disk waits for it.', async () => {
  const gate = Promise.withResolvers<void>();
  let waited = 0;
  const batches = new Batches(10, async () => {
    await gate.promise;
  });
  await batches.add(chunk(1, 8));
  const added = batches.add(chunk(2, 10)).then(() => {
    waited += 1;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(waited).toBe(0);
  gate.resolve();
  await added;
  await batches.end();
});

test('A failed write ends the stream, and nothing is written after it.', async () => {
  let calls = 0;
  const failure = new Error('disk full');
  const batches = new Batches(1, async () => {
    calls += 1;
    throw failure;
  });
  await batches.add(chunk(1));
  await expect(batches.end()).rejects.toBe(failure);
  await expect(batches.add(chunk(2))).rejects.toBe(failure);
  await expect(batches.end()).rejects.toBe(failure);
  expect(calls).toBe(1);
});
