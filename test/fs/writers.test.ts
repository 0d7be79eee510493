/** Who writes to a file: looked up among real processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lookAfter, writersBelow } from '../../src/fs/writers.ts';
import { temporaryFolder } from './support.ts';

/** A process that has a file open, as its redirection says, until it is ended. */
async function holder(redirection: string, file: string) {
  const child = spawn('sh', ['-c', `exec ${redirection}"$1"; echo open; read line`, 'sh', file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('who only reads a file that is changed is none of its writers', async () => {
  const file = join(await temporaryFolder(), 'image.sif');
  await writeFile(file, 'image');
  const find = writersBelow(dirname(file));
  const reader = await holder('3<', file);
  const writer = await holder('3<>', file);
  const found = await find(`/${basename(file)}`);
  expect(found.map(({ pid }) => pid)).toEqual([writer.pid]);
  reader.kill('SIGKILL');
  await once(reader, 'exit');
  expect(await lookAfter(found)).toEqual({ left: found, killed: false });
});
