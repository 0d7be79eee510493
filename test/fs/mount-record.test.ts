import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, readdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ownProcess, processStartTime } from '../../src/base/process.ts';
import {
  isMountProcess,
  listMounts,
  type MountRecord,
  recordPath,
  socketPath,
  writeRecord,
} from '../../src/fs/mount-record.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const record: MountRecord = { mountpoint: '/mnt/x', log: '', since: 1, ...ownProcess() };

/** A runtime directory with the record of a mount whose process lives. */
async function runtime() {
  const folder = temporaryFolder();
  await writeRecord(folder, record);
  return { folder, path: recordPath(folder, record.mountpoint) };
}

/** A process with this command line, to its end. */
async function processOf([program = '', ...args]: string[]) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const pid = child.pid as number;
  return { pid, startTime: processStartTime(pid) as string };
}

/** A script by that name which waits. */
function script(name: string): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, "console.log('here'); process.stdin.resume();");
  return path;
}

test('a record that a dead process left does not cost the mount that is being made in its place its socket', async () => {
  const { folder, path } = await runtime();
  await writeRecord(folder, { ...record, pid: 999_999_999 });
  const server = createServer();
  onTestFinished(() => void server.close());
  server.listen(socketPath(folder, record.mountpoint));
  await once(server, 'listening');
  expect(await listMounts(folder)).toEqual([]);
  expect(readdirSync(folder).sort()).toEqual([basename(path), basename(server.address() as string)].sort());
});

test('records of dead mounts are cleared away, those of living ones and foreign files are not', async () => {
  const { folder } = await runtime();
  await writeRecord(folder, { ...record, mountpoint: '/mnt/dead', startTime: 'another' });
  writeFileSync(join(folder, 'broken.json'), '{');
  expect(await listMounts(folder)).toEqual([record]);
  expect(readdirSync(folder).sort()).toEqual([recordPath('', '/mnt/x'), 'broken.json'].sort());
});

test('where there is no runtime directory there are no mounts', async () => {
  expect(await listMounts(join(temporaryFolder(), 'none'))).toEqual([]);
});

test('a runtime directory that others can enter is closed to them when it is read', async () => {
  const { folder } = await runtime();
  chmodSync(folder, 0o777);
  expect(await listMounts(folder)).toEqual([record]);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test('a runtime directory that is a link has no mounts', async () => {
  const { folder } = await runtime();
  const link = join(temporaryFolder(), 'link');
  symlinkSync(folder, link);
  expect(await listMounts(link)).toEqual([]);
});

test('a record that is a link, or that others can write, is not believed', async () => {
  const { folder, path } = await runtime();
  chmodSync(path, 0o622);
  expect(await listMounts(folder)).toEqual([]);
  chmodSync(path, 0o600);
  expect(await listMounts(folder)).toEqual([record]);
  const target = join(temporaryFolder(), 'record');
  renameSync(path, target);
  symlinkSync(target, path);
  expect(await listMounts(folder)).toEqual([]);
  expect(statSync(target).isFile()).toBe(true);
});

test.each<[string, object]>([
  ['no pid', { pid: undefined }],
  ['a pid that means a group of processes', { pid: -1 }],
  ['a start time that is none', { startTime: 7 }],
  ['a mount point that is none', { mountpoint: ['/mnt/x'] }],
  ['another mount point than its name says', { mountpoint: '/mnt/y' }],
  ['no log', { log: undefined }],
  ['no time', { since: 'yesterday' }],
])('a record with %s is not believed', async (_, changes) => {
  const { folder, path } = await runtime();
  writeFileSync(path, JSON.stringify({ ...record, ...changes }));
  expect(await listMounts(folder)).toEqual([]);
});

test.each(['null', '[]', '7', '"text"', ''])('a record that is %s is not believed', async (text) => {
  const { folder, path } = await runtime();
  writeFileSync(path, text);
  expect(await listMounts(folder)).toEqual([]);
});

needs({ root: true })('on a machine of several users', () => {
  test('a runtime directory of somebody else has no mounts, whatever lies in it', async () => {
    const { folder } = await runtime();
    chownSync(folder, 12345, 12345);
    expect(await listMounts(folder)).toEqual([]);
    expect(readdirSync(folder)).toEqual([basename(recordPath('', record.mountpoint))]);
  });

  test('a record of somebody else is not believed', async () => {
    const { folder, path } = await runtime();
    chownSync(path, 12345, 12345);
    expect(await listMounts(folder)).toEqual([]);
  });

  test('a process of somebody else is no mount of ours', async () => {
    const path = script('mount-process.js');
    chmodSync(dirname(path), 0o755);
    const request = JSON.stringify({ mountpoint: record.mountpoint });
    const theirs = await processOf([
      ...['setpriv', '--reuid', '12345', '--regid', '12345', '--clear-groups'],
      ...[process.execPath, path, request],
    ]);
    expect(isMountProcess({ ...record, ...theirs })).toBe(false);
  });
});

test('a process is the one of a mount by its start time, its script and its mount point', async () => {
  const request = JSON.stringify({ mountpoint: record.mountpoint });
  const mount = { ...record, ...(await processOf([process.execPath, script('mount-process.js'), request])) };
  expect(isMountProcess(mount)).toBe(true);
  expect(isMountProcess({ ...mount, mountpoint: '/mnt/y' })).toBe(false);
  expect(isMountProcess({ ...mount, startTime: 'another' })).toBe(false);
  const tuned = await processOf([
    process.execPath,
    '--max-semi-space-size=8',
    script('mount-process.js'),
    request,
  ]);
  expect(isMountProcess({ ...record, ...tuned })).toBe(true);
  const foreground = await processOf([
    process.execPath,
    script('sregistry'),
    'mount',
    '/mnt/x',
    '--foreground',
  ]);
  expect(isMountProcess({ ...record, ...foreground })).toBe(true);
  const other = await processOf([process.execPath, script('editor.js'), request]);
  expect(isMountProcess({ ...record, ...other })).toBe(false);
});
