import { expect, test } from 'vitest';
import { type Job, type JobOptions, runJob, startJob, THREADS } from '../../src/base/threads.ts';
import type { Input } from './jobs/job.ts';

const MODULE = new URL('./jobs/job.ts', import.meta.url);

const start = (name: string, value?: unknown, options: JobOptions<unknown> = {}) =>
  startJob<Input, unknown, unknown, unknown>(MODULE, { name, value }, options);

test('a job gets its input and gives its result', async () => {
  expect(await start('echo', { a: [1, 'b'] }).result).toEqual({ a: [1, 'b'] });
});

test('buffers move, and are empty where they came from', async () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const input: Input = { name: 'move', value: bytes };
  const result = await runJob<Input, { bytes: Uint8Array }>(MODULE, input, { transfer: [bytes.buffer] });
  expect([...result.bytes]).toEqual([1, 2, 3]);
  expect(bytes.length).toBe(0);
});

test('messages arrive in order, also those that were sent before the job began', async () => {
  const told: unknown[] = [];
  const job: Job<unknown, unknown> = start('sum', undefined, { onMessage: (message) => told.push(message) });
  for (const message of [1, 2, 3, 'end']) job.send(message);
  expect(await job.result).toBe(6);
  expect(told).toEqual([1, 3, 6, 6]);
});

test('an error keeps its code, hint and cause', async () => {
  await expect(start('fail').result).rejects.toMatchObject({
    name: 'SregistryError',
    code: 'CORRUPT',
    message: 'a job failed',
    hint: 'Mend it',
    cause: { message: 'why' },
  });
  await expect(start('missing').result).rejects.toMatchObject({ code: 'ENOENT' });
});

test('an aborted job ends for its starter at once, and is told', async () => {
  const aborter = new AbortController();
  const stopped = Promise.withResolvers<unknown>();
  const { result } = start('wait', undefined, { signal: aborter.signal, onMessage: stopped.resolve });
  aborter.abort(new Error('enough'));
  await expect(result).rejects.toThrow('enough');
  expect(await stopped.promise).toBe('stopped');
  await expect(start('echo', 1, { signal: aborter.signal }).result).rejects.toThrow('enough');
});

test('jobs that wait hold up no other, however many there are', async () => {
  const aborter = new AbortController();
  const waiting = Array.from({ length: 4 * THREADS }, () => start('wait', undefined, aborter));
  expect(await start('echo', 'answered').result).toBe('answered');
  aborter.abort(new Error('enough'));
  await Promise.allSettled(waiting.map(({ result }) => result));
});

test('a thread that dies fails its jobs, and the next job gets another thread', async () => {
  await expect(start('exit').result).rejects.toThrow('The worker thread ended with 3');
  expect(await start('echo', 'again').result).toBe('again');
});

test('the event loop goes on while a job computes', async () => {
  let turns = 0;
  const ticking = setInterval(() => {
    turns += 1;
  }, 1);
  await start('block', 200).result;
  clearInterval(ticking);
  expect(turns).toBeGreaterThan(1);
});
