import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { provideFusermount } from '../../src/fs/fusermount.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** A folder of programs that print their name and arguments. */
function programs(...names: string[]): string {
  const folder = temporaryFolder();
  for (const name of names) {
    writeFileSync(join(folder, name), `#!/bin/sh\necho ${name} "$@"\n`);
    chmodSync(join(folder, name), 0o755);
  }
  return folder;
}

test('where only fusermount3 is installed, the name fusermount starts it', () => {
  const env = { PATH: programs('fusermount3') };
  provideFusermount(env);
  expect(execFileSync('/bin/sh', ['-c', 'fusermount -u "/a b"'], { env, encoding: 'utf8' })).toBe(
    'fusermount3 -u /a b\n',
  );
});

test('PATH stays as it is where fusermount is installed, and where neither is', () => {
  for (const PATH of [programs('fusermount', 'fusermount3'), programs('fusermount'), programs()]) {
    const env = { PATH };
    provideFusermount(env);
    expect(env.PATH).toBe(PATH);
  }
});
