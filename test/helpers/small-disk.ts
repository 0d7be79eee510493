/** A disk that can be filled to its last byte. For root. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';

/** A file system of so many MiB, and what fills it to its last byte. */
export async function smallDisk(size: number) {
  const root = mkdtempSync(join(tmpdir(), 'sregistry-test-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'sregistry-test', root]);
  onTestFinished(() => {
    execFileSync('umount', ['-l', root]);
    rmSync(root, { recursive: true });
  });
  const fill = () => {
    const file = openSync(join(root, 'filler'), 'w');
    try {
      for (;;) writeSync(file, Buffer.alloc(4096));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    } finally {
      closeSync(file);
    }
  };
  return { root, fill };
}
