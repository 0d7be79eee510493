import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A folder of this test's own, removed after it. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sregistry-test-'));
  folders.push(folder);
  return folder;
}

/** A file with these bytes, to be pushed. */
export function fileOf(bytes: Buffer): { path: string; size: number } {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  return { path, size: bytes.length };
}
