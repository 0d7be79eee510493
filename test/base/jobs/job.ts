/** Jobs for threads.test.ts, by the name in their input. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SregistryError } from '../../../src/base/errors.ts';
import { moved } from '../../../src/base/moved.ts';
import type { JobContext } from '../../../src/base/threads.ts';

export interface Input {
  readonly name: string;
  readonly value?: unknown;
}

type Context = JobContext<unknown, unknown>;

const JOBS: Readonly<Record<string, (value: unknown, context: Context) => unknown>> = {
  echo: (value) => value,
  move: (value) => moved({ bytes: value as Uint8Array }, (value as Uint8Array<ArrayBuffer>).buffer),
  sum: (_value, { receive, send }) =>
    new Promise((resolve) => {
      let sum = 0;
      receive((message) => {
        if (message === 'end') resolve(sum);
        else sum += message as number;
        send(sum);
      });
    }),
  fail: () => {
    throw new SregistryError('CORRUPT', 'a job failed', { hint: 'Mend it', cause: new Error('why') });
  },
  missing: async () => (await import('node:fs/promises')).open('/nowhere/at/all'),
  /** As a thread that dies. */
  exit: () => process.exit(3),
  hoard: () => {
    for (const all: object[] = []; ; ) all.push(Array.from({ length: 100_000 }, (_, i) => ({ i })));
  },
  /** Until it is told to stop; tells that it was. */
  wait: async (_value, { signal, send }) => {
    while (!signal.aborted) await sleep(5);
    send('stopped');
  },
  block: (value) => {
    const end = performance.now() + (value as number);
    while (performance.now() < end);
  },
};

export function run({ name, value }: Input, context: Context): unknown {
  return JOBS[name]?.(value, context);
}
