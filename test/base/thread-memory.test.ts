import { expect, test, vi } from 'vitest';
import { runJob } from '../../src/base/threads.ts';
import type { Input } from './jobs/job.ts';

/** A machine with little memory, so that a thread reaches its part of it soon. */
vi.mock('node:os', async (original) => ({
  ...(await original<typeof import('node:os')>()),
  totalmem: () => 256 * 2 ** 20,
}));

const start = (name: string) =>
  runJob<Input, unknown>(new URL('./jobs/job.ts', import.meta.url), { name, value: 'answered' });

test('a job that takes too much memory fails, and neither its process nor the next job does', async () => {
  await expect(start('hoard')).rejects.toMatchObject({
    code: 'INTERNAL',
    message: 'A thread needed more than 128 MiB of memory',
  });
  expect(await start('echo')).toBe('answered');
});
