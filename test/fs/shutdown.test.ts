import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { isDoneWithin, runSteps } from '../../src/fs/shutdown.ts';

const never = () => new Promise<void>(() => {});

test('each step of an end runs, whatever became of those before it', async () => {
  const ran: string[] = [];
  const log: string[] = [];
  const step = (name: string, run: () => unknown = () => {}, limit?: number) => ({
    name,
    ...(limit !== undefined && { limit }),
    run: () => {
      ran.push(name);
      return run();
    },
  });
  const failed = await runSteps(
    [
      step('throw', () => {
        throw new Error('thrown');
      }),
      step('reject', () => Promise.reject(new Error('rejected'))),
      step('hang', never, 10),
      step('wait', () => sleep(1)),
      step('end'),
    ],
    (message) => log.push(message),
  );
  expect(ran).toEqual(['throw', 'reject', 'hang', 'wait', 'end']);
  expect(failed).toEqual(['throw', 'reject', 'hang']);
  expect(log).toEqual([
    'could not throw: thrown',
    'could not reject: rejected',
    'could not hang: it took more than 0.01 seconds',
  ]);
});

test('something is waited for until it is done, the time is up, or a signal fires', async () => {
  expect(await isDoneWithin(sleep(1), 60_000)).toBe(true);
  expect(await isDoneWithin(never(), 1)).toBe(false);
  expect(await isDoneWithin(never(), 60_000, AbortSignal.abort())).toBe(false);
  await expect(isDoneWithin(Promise.reject(new Error('failed')), 60_000)).rejects.toThrow('failed');
});
