/** Progress as lines, for output that nobody watches: the log of a job, a pipe. */
import ms from 'ms';
import type { Progress, ProgressOptions } from './live.ts';
import { formatBytes, paceFrom } from './pace.ts';

/** Milliseconds after which a transfer is long enough to be told of. */
const LONG = 60_000;
/** Milliseconds between two lines. */
const INTERVAL = 30_000;

/** Prints a line every 30 seconds, when there is news, once the transfer has gone on for a minute. */
export function lineProgress(
  { label, total, unit = 'bytes' }: ProgressOptions,
  print: (line: string) => void,
): Progress {
  const paceAt = paceFrom();
  const amount = unit === 'bytes' ? formatBytes : String;
  let next = Date.now() + LONG;
  let done = 0;
  const update = (now: number) => {
    done = now;
    const pace = paceAt(done);
    if (Date.now() < next) return;
    next = Date.now() + INTERVAL;
    const parts = [total > 0 ? `${amount(done)} of ${amount(total)}` : amount(done)];
    if (pace !== undefined) {
      parts.push(`${amount(Math.round(pace))}/s`);
      if (total > done) parts.push(`${ms(Math.round(((total - done) / pace) * 1000))} left`);
    }
    print(`${label}: ${parts.join(', ')}`);
  };
  return { update, increment: (more) => update(done + more), stop() {}, [Symbol.dispose]() {} };
}
