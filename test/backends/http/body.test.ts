import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { chunksOf } from '../../../src/backends/http/body.ts';

/** A body whose chunks have all arrived before anybody reads it. */
function bodyOf(chunks: Buffer[], end?: Error): Readable {
  const body = new Readable({ read() {} });
  for (const chunk of chunks) body.push(chunk);
  if (end === undefined) body.push(null);
  else setImmediate(() => body.destroy(end));
  return body;
}

test('The chunks of a body come as they arrived, none of them copied.', async () => {
  const sent = [1, 2, 3, 4].map((value) => Buffer.alloc(1000, value));
  const got = await Array.fromAsync(chunksOf(bodyOf(sent)));
  expect(got.map((chunk, index) => chunk === sent[index])).toEqual([true, true, true, true]);
});

test('An empty body has no chunks.', async () => {
  expect(await Array.fromAsync(chunksOf(bodyOf([])))).toEqual([]);
});

test('A body that breaks off throws why, after the chunks that arrived.', async () => {
  const failure = new Error('reset');
  const got: number[] = [];
  const read = async () => {
    for await (const chunk of chunksOf(bodyOf([Buffer.alloc(5)], failure))) got.push(chunk.length);
  };
  await expect(read()).rejects.toBe(failure);
  expect(got).toEqual([5]);
});

test('A reader that stops destroys the body.', async () => {
  const body = bodyOf([Buffer.alloc(10), Buffer.alloc(10)]);
  for await (const _ of chunksOf(body)) break;
  expect(body.destroyed).toBe(true);
});
