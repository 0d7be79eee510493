/** A push that must not replace anything, to the drivers that need no service of their own. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import dir from '../../src/backends/dir/index.ts';
import local from '../../src/backends/local/index.ts';
import template from '../../src/backends/template/index.ts';
import type { ImageName } from '../../src/image/name.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { startFileServer } from '../servers/file-server.ts';

const DRIVERS: [string, (folder: string) => Promise<Backend>][] = [
  ['dir', async (folder) => dir.create({ name: 'dir', options: { base: folder }, env: {} })],
  [
    'local',
    async (folder) => {
      const env = { SREGISTRY_DATABASE: join(folder, 'db'), SREGISTRY_STORAGE: join(folder, 'shub') };
      return local.create({ name: 'local', options: {}, env });
    },
  ],
  [
    'template',
    async () => {
      const server = await startFileServer({ writable: true, index: 'nginxJson' });
      onTestFinished(() => server.close());
      return template.create({ name: 'template', options: { base: server.url, token: 'x' }, env: {} });
    },
  ],
];

const NAME: ImageName = { collection: 'lab', image: 'hello', tag: '1.0' };

async function setUp(create: (folder: string) => Promise<Backend>) {
  const backend = await create(temporaryFolder());
  onTestFinished(() => backend.close?.());
  const folder = temporaryFolder();
  let files = 0;
  const push = async (content: string, ifAbsent: boolean) => {
    files += 1;
    const path = join(folder, `${files}.sif`);
    await writeFile(path, content);
    return backend.push?.({ path, size: content.length }, NAME, { ifAbsent });
  };
  const read = async () => {
    const image = await backend.resolve(NAME);
    return image && String(await buffer(await backend.read(image, 0, image.size)));
  };
  return { push, read };
}

describe.each(DRIVERS)('%s', (_name, create) => {
  test('pushes to a name that stands for nothing.', async () => {
    const { push, read } = await setUp(create);
    await push('first', true);
    expect(await read()).toBe('first');
  });

  test('refuses a name that stands for an image, which stays.', async () => {
    const { push, read } = await setUp(create);
    await push('first', false);
    await expect(push('second', true)).rejects.toMatchObject({ code: 'EXISTS' });
    expect(await read()).toBe('first');
    await push('third', false);
    expect(await read()).toBe('third');
  });

  test('lets exactly one of several pushes at the same time succeed.', async () => {
    const { push, read } = await setUp(create);
    const contents = ['one', 'two', 'three', 'four'];
    const outcomes = await Promise.allSettled(contents.map((content) => push(content, true)));
    const won = contents.filter((_content, index) => outcomes[index]?.status === 'fulfilled');
    expect(won).toHaveLength(1);
    expect(await read()).toBe(won[0]);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'EXISTS' });
  });
});
