import { join } from 'node:path';
import { expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { apptainer } from './apptainer.ts';
import { largeImage } from './images.ts';

const IMAGE = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');

needs({ apptainer: true })('Apptainer for tests', () => {
  test('runs an image and says what it printed and how it ended', async () => {
    const result = await apptainer(['exec', IMAGE, 'sh', '-c', 'cat /etc/lab-post; exit 3']);
    expect(result).toMatchObject({ code: 3, stdout: 'built in post of small-gzip\n' });
  });

  test('builds an image of at least the size asked for, once', async () => {
    const [path, again] = await Promise.all([largeImage(3), largeImage(3)]);
    expect(again).toBe(path);
    const { stdout } = await apptainer(['exec', path, 'stat', '-c', '%s', '/opt/noise.bin']);
    expect(stdout).toBe(`${3 * 1024 * 1024}\n`);
  });
});
