/** How much and how fast: bytes and rates as people read them. */
import bytes from 'bytes';

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
