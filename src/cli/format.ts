/** Sizes, times, files and signatures as people read them. */
import bytes from 'bytes';
import ms from 'ms';
import type { Signature } from '../image/signatures.ts';
import type { FileEntry } from '../image/squashfs/filesystem.ts';

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

/** `January 31, 2026`, as the Python client writes days. */
export function formatDay(time: Date | string | undefined): string {
  if (time === undefined) return '';
  return new Date(time).toLocaleDateString('en-US', { year: 'numeric', month: 'long', day: '2-digit' });
}

/** `5m ago` */
export function formatAge(time: Date | string): string {
  return `${ms(Math.max(0, Date.now() - new Date(time).getTime()))} ago`;
}

/** Permission bits as chmod(1) takes them: `0755`. */
export function formatMode(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

/** The letters of ls(1). */
const TYPE_LETTERS: Record<FileEntry['type'], string> = {
  directory: 'd',
  file: '-',
  symlink: 'l',
  'block-device': 'b',
  'character-device': 'c',
  fifo: 'p',
  socket: 's',
};

/** `- 0644      1234 2026-01-31 14:05 /etc/passwd` */
export function formatFile({ type, mode, size, modified, path, target }: FileEntry): string {
  const facts = [TYPE_LETTERS[type], formatMode(mode), String(size).padStart(10), formatTime(modified)];
  return [...facts, path, ...(target === undefined ? [] : ['->', target])].join(' ');
}

/** What a signature vouches for: `group 1`. */
export function formatSigned(signs: Signature['signs']): string {
  return signs === undefined ? '' : `${signs.to} ${signs.id}`;
}
