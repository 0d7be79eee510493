import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { receive } from '../../src/cache/receive.ts';

const URI = 'test://lab/image:1';

function sending(...chunks: readonly string[]) {
  const stream = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
  return { stream, origin: { uri: URI, source: async () => stream } };
}

function collect(origin: Parameters<typeof receive>[0], length: number, signal = AbortSignal.timeout(5000)) {
  return Array.fromAsync(receive(origin, 0, length, signal), (chunk) => Buffer.from(chunk).toString());
}

test('The bytes asked for arrive in their order, and the stream is destroyed.', async () => {
  const { stream, origin } = sending('ab', 'cde');
  expect(await collect(origin, 5)).toEqual(['ab', 'cde']);
  expect(stream.destroyed).toBe(true);
});

test.each([
  ['more', 4, `The service sent more than the 4 bytes asked for of ${URI}`],
  ['fewer', 6, `The service sent 5 of the 6 bytes asked for of ${URI}`],
])('A service that sends %s bytes than asked for is the error SERVICE.', async (_, length, message) => {
  const { stream, origin } = sending('ab', 'cde');
  await expect(collect(origin, length)).rejects.toMatchObject({ code: 'SERVICE', message });
  expect(stream.destroyed).toBe(true);
});

test('No chunk that exceeds the range is yielded.', async () => {
  const seen: number[] = [];
  const read = async () => {
    for await (const chunk of receive(sending('ab', 'cde').origin, 0, 4, AbortSignal.timeout(5000)))
      seen.push(chunk.length);
  };
  await expect(read()).rejects.toMatchObject({ code: 'SERVICE' });
  expect(seen).toEqual([2]);
});

test('A signal ends the wait for a source that ignores it, and the late stream is destroyed.', async () => {
  const { promise, resolve } = Promise.withResolvers<Readable>();
  const controller = new AbortController();
  const received = collect({ uri: URI, source: () => promise }, 5, controller.signal);
  const reason = new Error('enough');
  controller.abort(reason);
  await expect(received).rejects.toBe(reason);
  const { stream } = sending('abcde');
  resolve(stream);
  await promise;
  await new Promise(setImmediate);
  expect(stream.destroyed).toBe(true);
});

test('A signal ends the wait for a stream that stalls, and destroys it.', async () => {
  const stream = new Readable({ read() {} });
  stream.push(Buffer.from('ab'));
  const controller = new AbortController();
  const received = collect({ uri: URI, source: async () => stream }, 5, controller.signal);
  await new Promise(setImmediate);
  const reason = new Error('enough');
  controller.abort(reason);
  await expect(received).rejects.toBe(reason);
  expect(stream.destroyed).toBe(true);
});

test('A reader that stops destroys the stream.', async () => {
  const { stream, origin } = sending('ab', 'cde');
  for await (const _ of receive(origin, 0, 5, AbortSignal.timeout(5000))) break;
  expect(stream.destroyed).toBe(true);
});
