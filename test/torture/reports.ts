/** What processes that look at a mount tell their parent, a line of JSON each on standard output. */
import { statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export interface ReadTag {
  /** Path within the mount. */
  readonly path: string;
  /** Is it never removed? Then its absence is a lie. */
  readonly isStable: boolean;
}

export interface Finding {
  readonly kind: 'wrong-bytes' | 'wrong-size' | 'absent' | 'phantom';
  readonly path: string;
  readonly detail: string;
  /** Milliseconds since the epoch: when the opening was answered, when the bytes were read. */
  readonly opened: number;
  readonly read: number;
}

export interface Tally {
  /** Files opened, or looked at. */
  opens: number;
  reads: number;
  bytes: number;
  /** Images read from the first byte to the last. */
  whole: number;
  errors: Record<string, number>;
}

export type Report =
  | { finding: Finding }
  /** With the time, in milliseconds since the epoch, at which the oldest call that has not ended began. */
  | { tally: Tally; waitingSince?: number | undefined }
  | { whole: { path: string } };

/** Milliseconds between two tallies. */
export const TALLY_INTERVAL = 200;

export const emptyTally = (): Tally => ({ opens: 0, reads: 0, bytes: 0, whole: 0, errors: {} });

export function emit(report: Report): void {
  writeSync(1, `${JSON.stringify(report)}\n`);
}

/** Is something mounted there that answers? */
export function isMountedAt(mountpoint: string): boolean {
  try {
    return statSync(mountpoint).dev !== statSync(dirname(mountpoint)).dev;
  } catch {
    return false;
  }
}

/**
 * Is the file there when one looks again? libfuse gives ENOENT to who opens a file just when another is renamed over it: the number
 * the kernel knows it by is gone. That lasts for a moment; what a registry is said not to have lasts.
 */
export function isThereAgain(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

export function codeOf(error: unknown): string {
  const { code, errno } = error as { code?: string; errno?: number };
  return code ?? (errno === undefined ? String(error) : `errno ${errno}`);
}
