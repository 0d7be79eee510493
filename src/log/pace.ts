/** How fast a transfer goes, and progress as lines for output that nobody watches: the log of a job, a pipe. */
import bytes from 'bytes';
import ms from 'ms';
import type { Progress, ProgressOptions } from './live.ts';

/** Milliseconds after which a transfer is long enough to be told of. */
const LONG = 60_000;
/** Milliseconds between two lines. */
const INTERVAL = 30_000;

export const formatBytes = (count: number) =>
  bytes.format(count, { decimalPlaces: 1, fixedDecimals: true }) ?? '';

/** Returns the mean rate since its first call, per second; undefined while it is unknown. What was there at that call does not count. */
export function paceFrom(): (done: number) => number | undefined {
  let first: { readonly done: number; readonly time: number } | undefined;
  return (done) => {
    first ??= { done, time: Date.now() };
    const seconds = (Date.now() - first.time) / 1000;
    return seconds > 0 && done > first.done ? (done - first.done) / seconds : undefined;
  };
}

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
