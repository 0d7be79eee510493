/** Sizes and times as people read them. */
import bytes from 'bytes';
import ms from 'ms';

export function formatSize(count: number | undefined): string {
  return count === undefined ? '' : (bytes.format(count, { decimalPlaces: 1 }) ?? '');
}

/** `2026-01-31 14:05`, in this machine's time zone. */
export function formatTime(time: Date | string | undefined): string {
  if (time === undefined) return '';
  const date = new Date(time);
  const two = (part: number) => String(part).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** `January 31, 2026`, as the Python tool writes days. */
export function formatDay(time: Date | string | undefined): string {
  if (time === undefined) return '';
  return new Date(time).toLocaleDateString('en-US', { year: 'numeric', month: 'long', day: '2-digit' });
}

/** `5m ago` */
export function formatAge(time: Date | string): string {
  return `${ms(Math.max(0, Date.now() - new Date(time).getTime()))} ago`;
}
