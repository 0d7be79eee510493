import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { askMount, closeControl, serveControl } from '../../src/fs/control.ts';
import { socketPath } from '../../src/fs/mount-record.ts';
import { needs } from '../helpers/skip.ts';

const MOUNTPOINT = '/mnt/x';

async function control() {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-control-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return { folder, socket: socketPath(folder, MOUNTPOINT) };
}

type Handlers = Parameters<typeof serveControl>[1];

async function serve(socket: string, handlers: Partial<Handlers>): Promise<void> {
  const unused = async () => {
    throw new Error('not asked for');
  };
  const server = await serveControl(socket, {
    status: unused,
    unmount: unused,
    forget: unused,
    kept: unused,
    ...handlers,
  });
  onTestFinished(() => closeControl(server));
}

const ask = (folder: string, request: 'status' | 'unmount', timeout = 5_000, signal?: AbortSignal) =>
  askMount(folder, MOUNTPOINT, request, { force: true }, timeout, signal);

test('a mount answers what it is asked, and says why it cannot', async () => {
  const { folder, socket } = await control();
  const busy = new SregistryError('BUSY', 'It is in use', { hint: 'Close it' });
  await serve(socket, {
    status: () => Promise.reject(busy),
    unmount: async ({ force }) => ({ cut: { files: [], pushes: [`forced: ${force}`] } }),
  });
  expect(await ask(folder, 'unmount')).toEqual({ cut: { files: [], pushes: ['forced: true'] } });
  await expect(ask(folder, 'status')).rejects.toMatchObject({
    code: 'BUSY',
    message: 'It is in use',
    hint: 'Close it',
  });
});

test('a mount that is gone or silent is UNREACHABLE', async () => {
  const { folder, socket } = await control();
  await expect(ask(folder, 'status')).rejects.toMatchObject({ code: 'UNREACHABLE' });
  await serve(socket, { status: () => new Promise(() => {}) });
  await expect(ask(folder, 'status', 50)).rejects.toMatchObject({ code: 'UNREACHABLE' });
});

test('a mount learns that the asker hung up', async () => {
  const { folder, socket } = await control();
  const asked = Promise.withResolvers<AbortSignal>();
  await serve(socket, {
    unmount: (_, signal) => {
      asked.resolve(signal);
      return new Promise(() => {});
    },
  });
  const asker = new AbortController();
  const answer = ask(folder, 'unmount', 0, asker.signal);
  const signal = await asked.promise;
  asker.abort(new Error('no more'));
  await expect(answer).rejects.toThrow('no more');
  await expect.poll(() => signal.aborted).toBe(true);
});

test('nothing is asked over what is not a socket', async () => {
  const { folder, socket } = await control();
  await writeFile(socket, '');
  await expect(ask(folder, 'status')).rejects.toMatchObject({ code: 'SETTINGS' });
});

needs({ root: true })('on a machine of several users', () => {
  test('nothing is asked over a socket of somebody else', async () => {
    const { folder, socket } = await control();
    await serve(socket, { status: () => Promise.reject(new Error('it was asked')) });
    await chown(socket, 12345, 12345);
    await expect(ask(folder, 'status')).rejects.toMatchObject({ code: 'SETTINGS' });
  });

  test('nothing is asked over a socket in a folder of somebody else', async () => {
    const { folder, socket } = await control();
    await serve(socket, { status: () => Promise.reject(new Error('it was asked')) });
    await chown(folder, 12345, 12345);
    await expect(ask(folder, 'status')).rejects.toMatchObject({ code: 'SETTINGS' });
  });
});
