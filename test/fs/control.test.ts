import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ownProcess } from '../../src/base/process.ts';
import {
  askMount,
  closeControl,
  listMounts,
  recordPath,
  serveControl,
  socketPath,
  writeRecord,
} from '../../src/fs/control.ts';

async function control() {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-control-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const record = {
    mountpoint: '/mnt/x',
    socket: socketPath(folder, '/mnt/x'),
    log: '',
    since: 1,
    ...ownProcess(),
  };
  return { folder, record };
}

const unused = async () => {
  throw new Error('not asked for');
};

test('a mount answers what it is asked, and says why it cannot', async () => {
  const { record } = await control();
  const server = await serveControl(record.socket, {
    status: unused,
    unmount: async ({ force }) => ({ forced: force }),
    forget: unused,
  });
  onTestFinished(() => closeControl(server));
  expect(await askMount(record, 'unmount', { force: true }, 5_000)).toEqual({ forced: true });
  await expect(askMount(record, 'status', {}, 5_000)).rejects.toThrow('not asked for');
});

test('a mount that is gone or silent is UNREACHABLE', async () => {
  const { record } = await control();
  await expect(askMount(record, 'status', {}, 5_000)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  const server = await serveControl(record.socket, {
    status: () => new Promise(() => {}),
    unmount: unused,
    forget: unused,
  });
  onTestFinished(() => closeControl(server));
  await expect(askMount(record, 'status', {}, 50)).rejects.toMatchObject({ code: 'UNREACHABLE' });
});

test('records of dead mounts are cleared away, those of living ones and foreign files are not', async () => {
  const { folder, record } = await control();
  await writeRecord(folder, record);
  await writeRecord(folder, { ...record, mountpoint: '/mnt/dead', startTime: 'another' });
  await writeFile(join(folder, 'broken.json'), '{');
  expect(await listMounts(folder)).toEqual([record]);
  expect((await readdir(folder)).sort()).toEqual([recordPath('', '/mnt/x'), 'broken.json'].sort());
});
