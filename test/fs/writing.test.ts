/** Files being written: what each operation does with them in each state. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { open as openFile, readdir, rm, writeFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { processStartTime } from '../../src/base/process.ts';
import { publish } from '../../src/client/publish.ts';
import type { Session } from '../../src/client/session.ts';
import type { Publisher } from '../../src/fs/publisher.ts';
import { failing, gated, other, small, useLab } from './lab.ts';
import { errnoOfCall, fixture, image, stagedFiles, temporaryFolder, writeAll } from './support.ts';

const { EEXIST, EHOSTUNREACH, EINVAL, EIO, ENOENT, EPERM } = os.errno;
const { O_CREAT, O_RDWR, O_TRUNC, O_WRONLY } = constants;

const lab = useLab();
const { open, stored } = lab;

beforeEach(() => writeFile(join(lab.folder(), 'small:1.0.sif'), small));

describe('closing', () => {
  test('two closes that wait for one push share it and its outcome', async () => {
    const gate = gated();
    const { kernel, filesystem } = await open({ publisher: gate.publisher });
    const first = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    const second = await kernel.open('/lab/demo/new:1.sif', O_WRONLY);
    await writeAll(filesystem, first, small);
    const closes = [filesystem.flush(first), filesystem.flush(second), filesystem.flush(first)];
    await gate.started;
    gate.open();
    await Promise.all(closes);
    await kernel.release(first);
    await kernel.release(second);
    expect(gate.pushes.length).toBe(1);
    expect(await stored('new:1.sif')).toEqual(small);
  });

  test('a file whose writer went away while it was pushed leaves its path when the push is done', async () => {
    const gate = gated();
    const { kernel, filesystem, staging, session } = await open({ publisher: gate.publisher });
    const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, handle, small);
    const closed = filesystem.flush(handle);
    await gate.started;
    await kernel.release(handle);
    gate.open();
    await closed;
    await staging.idle();
    expect(staging.find('/lab/demo/new:1.sif')).toBeUndefined();
    expect(await stagedFiles(session)).toEqual([]);
    expect(session.state.journal.list()).toEqual([]);
  });

  test('a write during a push cancels it, and the next close pushes the bytes as they are then', async () => {
    const gate = gated();
    const { kernel, filesystem } = await open({ publisher: gate.publisher });
    const path = '/lab/demo/small:1.0.sif';
    const first = await kernel.open(path, O_RDWR);
    const second = await kernel.open(path, O_RDWR);
    await writeAll(filesystem, first, small);
    const early = filesystem.flush(first);
    await gate.started;
    await filesystem.write(second, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    await early;
    expect(await stored('small:1.0.sif')).toEqual(small);
    gate.open();
    await kernel.close(second);
    await kernel.close(first);
    expect((await stored('small:1.0.sif'))?.subarray(0, 18).toString()).toBe('#!/usr/bin/env RUN');
    expect(gate.pushes.length).toBe(2);
  });

  test('closing what was opened for reading pushes nothing', async () => {
    const gate = gated();
    const { kernel, filesystem } = await open({ publisher: gate.publisher });
    const writer = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, writer, small);
    await kernel.close(await kernel.open('/lab/demo/new:1.sif'));
    expect(gate.pushes).toEqual([]);
    gate.open();
    await kernel.close(writer);
    expect(await stored('new:1.sif')).toEqual(small);
  });

  test('The next open after a close shows the registry’s file, at once.', async () => {
    const { kernel, session, staging } = await open();
    for (let round = 0; round < 20; round += 1) {
      const bytes = round % 2 === 0 ? small : other;
      const handle = await kernel.open('/lab/demo/again:1.sif', O_WRONLY | O_CREAT | O_TRUNC);
      await writeAll(kernel.filesystem, handle, bytes);
      await kernel.filesystem.flush(handle);
      const released = kernel.release(handle);
      const read = kernel.readFile('/lab/demo/again:1.sif');
      await released;
      expect((await read).equals(bytes)).toBe(true);
    }
    await staging.idle();
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('a file that cannot be looked at is kept, and can be removed', async () => {
    const { kernel, filesystem, session, staging } = await open();
    const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, handle, small);
    for (const name of await stagedFiles(session)) await rm(join(session.stagingFolder, name));
    expect(await errnoOfCall(kernel.close(handle))).toBe(ENOENT);
    expect(session.state.journal.list()).toMatchObject([{ state: 'kept' }]);
    await kernel.unlink('/lab/demo/new:1.sif');
    await staging.idle();
    expect(session.state.journal.list()).toEqual([]);
  });

  test('a push that nobody waits for is canceled by `rm`, and by a rename that pushes to the new name', async () => {
    for (const act of ['remove', 'rename'] as const) {
      const home = await temporaryFolder();
      const before = await open({ home, publisher: failing('1') });
      expect(await errnoOfCall(before.kernel.copyIn('/lab/demo/kept:1.sif', small))).toBe(EHOSTUNREACH);
      await before.stop();
      const gate = gated();
      const { kernel, staging, session } = await open({ home, publisher: gate.publisher });
      await staging.restore(['lab']);
      await gate.started;
      gate.open();
      if (act === 'remove') await kernel.unlink('/lab/demo/kept:1.sif').catch(() => {});
      else await kernel.rename('/lab/demo/kept:1.sif', '/lab/demo/kept:2.sif').catch(() => {});
      await staging.idle();
      expect(session.state.journal.list()).toEqual([]);
      expect(await stagedFiles(session)).toEqual([]);
    }
  });

  test('a failed write is no run of zeros that was left out', async () => {
    const { kernel, filesystem, session } = await open();
    const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, handle, small.subarray(0, 600_000));
    const probe = await openFile('/dev/null');
    const failure = Object.assign(new Error('bad disk'), { code: 'EIO' });
    const write = vi.spyOn(Object.getPrototypeOf(probe), 'write').mockRejectedValueOnce(failure);
    await probe.close();
    const part = small.subarray(600_000, 700_000);
    expect(await errnoOfCall(filesystem.write(handle, part, 600_000, part.length))).toBe(EIO);
    write.mockRestore();
    await writeAll(filesystem, handle, small.subarray(700_000), 700_000);
    await kernel.close(handle);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });

  test('an update right after a close starts from what was closed', async () => {
    const { kernel } = await open();
    await kernel.copyIn('/lab/demo/again:1.sif', other);
    const handle = await kernel.open('/lab/demo/again:1.sif', O_RDWR);
    await kernel.filesystem.write(handle, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    await kernel.close(handle);
    const bytes = await stored('again:1.sif');
    expect(bytes?.subarray(18).equals(other.subarray(18))).toBe(true);
    expect(bytes?.subarray(0, 18).toString()).toBe('#!/usr/bin/env RUN');
  });
});

describe('what was written is known', () => {
  test('A file with bytes that nobody wrote is incomplete, whatever its header says.', async () => {
    const { kernel, session } = await open();
    const handle = await kernel.open('/lab/demo/holes:1.sif', O_WRONLY | O_CREAT);
    await writeAll(kernel.filesystem, handle, small.subarray(0, 500_000));
    await writeAll(kernel.filesystem, handle, small.subarray(1_000_000), 1_000_000);
    await kernel.filesystem.flush(handle);
    expect(await stored('holes:1.sif')).toBeUndefined();
    expect(session.state.journal.list()).toMatchObject([
      { state: 'incomplete', error: 'Bytes 500000 to 999999 of the image were never written' },
    ]);
    await writeAll(kernel.filesystem, handle, small.subarray(500_000, 1_000_000), 500_000);
    await kernel.close(handle);
    expect(await stored('holes:1.sif')).toEqual(small);
  });

  test('A copy that leaves out runs of zeros is whole.', async () => {
    const { kernel } = await open();
    const bytes = Buffer.from(small);
    bytes.fill(0, 600_000, 700_000);
    bytes.fill(0, bytes.length - 50_000);
    const handle = await kernel.open('/lab/demo/sparse:1.sif', O_WRONLY | O_CREAT);
    await writeAll(kernel.filesystem, handle, bytes.subarray(0, 600_000));
    await writeAll(kernel.filesystem, handle, bytes.subarray(700_000, bytes.length - 50_000), 700_000);
    await kernel.filesystem.ftruncate(handle, bytes.length);
    await kernel.close(handle);
    expect(await stored('sparse:1.sif')).toEqual(bytes);
  });

  test('a file that is not written from its beginning to its end may have no hole', async () => {
    const { kernel, session } = await open();
    const handle = await kernel.open('/lab/demo/holes:1.sif', O_WRONLY | O_CREAT);
    await writeAll(kernel.filesystem, handle, small.subarray(700_000), 700_000);
    await writeAll(kernel.filesystem, handle, small.subarray(0, 600_000));
    await kernel.close(handle);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });

  test('an image that is overwritten in place and not to its end is incomplete', async () => {
    const { kernel, session } = await open();
    const handle = await kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
    await writeAll(kernel.filesystem, handle, other.subarray(0, 1_000_000));
    await kernel.close(handle);
    expect(await stored('small:1.0.sif')).toEqual(small);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });

  test('An update whose writer was killed is not published.', async () => {
    const writer = spawn('sleep', ['100']);
    onTestFinished(() => void writer.kill('SIGKILL'));
    const pid = writer.pid as number;
    const started = (processStartTime(pid) ?? '').split(':').at(-1) as string;
    const { kernel, session } = await open({ findWriters: async () => [{ pid, started }] });
    const update = async () => {
      const handle = await kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
      await kernel.filesystem.write(handle, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
      return handle;
    };
    const killed = await update();
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    await kernel.close(killed);
    expect(await stored('small:1.0.sif')).toEqual(small);
    expect(session.state.journal.list()).toMatchObject([
      { state: 'incomplete', error: 'Its writer was killed while changing it' },
    ]);
  });

  test('An update of which a write failed is not published.', async () => {
    let room = true;
    const { kernel, filesystem, session } = await open({ publisher: () => ({ makeRoom: async () => room }) });
    const update = await kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
    await filesystem.write(update, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    room = false;
    const rest = Buffer.alloc(2 * 1024 * 1024, 7).subarray(0, 1_200_000);
    await expect(filesystem.write(update, rest, 4096, rest.length)).rejects.toMatchObject({
      code: 'NO_SPACE',
    });
    await kernel.close(update);
    expect(await stored('small:1.0.sif')).toEqual(small);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);

    // Its writer tries again, and meant something else of the last bytes.
    room = true;
    const again = await kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
    await filesystem.write(again, small.subarray(4096), 4096, small.length - 4096);
    await kernel.close(again);
    expect((await stored('small:1.0.sif'))?.subarray(4096)).toEqual(small.subarray(4096));
  });

  test('an image that was pushed from here and is updated by a writer that is killed stays as it was pushed', async () => {
    const writer = spawn('sleep', ['100']);
    onTestFinished(() => void writer.kill('SIGKILL'));
    const pid = writer.pid as number;
    const started = (processStartTime(pid) ?? '').split(':').at(-1) as string;
    const { kernel, filesystem } = await open({ findWriters: async () => [{ pid, started }] });
    const first = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, first, other);
    const reader = await kernel.open('/lab/demo/new:1.sif');
    await kernel.close(first);
    const killed = await kernel.open('/lab/demo/new:1.sif', O_RDWR);
    await filesystem.write(killed, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    await kernel.close(killed);
    await kernel.close(reader);
    expect(await stored('new:1.sif')).toEqual(other);
  });

  test('a writer that closed its update and ended does not make the next update a part', async () => {
    const writer = spawn('sleep', ['100']);
    onTestFinished(() => void writer.kill('SIGKILL'));
    const pid = writer.pid as number;
    const started = (processStartTime(pid) ?? '').split(':').at(-1) as string;
    const found = [[{ pid, started }], []];
    const { kernel, filesystem } = await open({ findWriters: async () => found.shift() ?? [] });
    const update = async (text: string) => {
      const handle = await kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
      await filesystem.write(handle, Buffer.from(text), 0, 18);
      return handle;
    };
    const first = await update('#!/usr/bin/env RUN');
    const reader = await kernel.open('/lab/demo/small:1.0.sif');
    await kernel.close(first);
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    await kernel.close(await update('#!/usr/bin/env MUN'));
    await kernel.close(reader);
    expect((await stored('small:1.0.sif'))?.subarray(0, 18).toString()).toBe('#!/usr/bin/env MUN');
  });

  test('after a crash what its writer had not closed is listed, and not pushed', async () => {
    const first = await open();
    const handle = await first.kernel.open('/lab/demo/small:1.0.sif', O_RDWR);
    await first.filesystem.write(handle, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    // The process of the mount is gone: nothing is flushed or released.
    const second = await open({ home: first.home });
    await second.staging.restore(['lab']);
    await second.staging.idle();
    expect(await stored('small:1.0.sif')).toEqual(small);
    expect(second.session.state.journal.list()).toMatchObject([
      { state: 'incomplete', uri: 'lab://demo/small:1.0', hint: expect.stringContaining('push --kept') },
    ]);
    expect((await second.kernel.readFile('/lab/demo/small:1.0.sif')).equals(small)).toBe(true);
  });

  test('of two kept pushes of one name the newer counts, whichever spelling it had', async () => {
    const home = await temporaryFolder();
    for (const [path, bytes] of [
      ['/lab/demo/kept:1.sif', small],
      ['/lab/demo/kept:1.simg', other],
    ] as const) {
      const { kernel, stop } = await open({ home, publisher: failing('1') });
      expect(await errnoOfCall(kernel.copyIn(path, bytes))).toBe(EHOSTUNREACH);
      await stop();
    }
    const { staging, session } = await open({ home });
    expect(session.state.journal.list().length).toBe(2);
    await staging.restore(['lab']);
    await staging.idle();
    await expect.poll(() => session.state.journal.list()).toEqual([]);
    const [name] = (await readdir(lab.folder())).filter((each) => each.startsWith('kept'));
    expect(await stored(name as string)).toEqual(other);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('what was kept is not pushed over what another process pushed to the same name since', async () => {
    const home = await temporaryFolder();
    const kept = await open({ home, publisher: failing('1.0') });
    expect(await errnoOfCall(kept.kernel.copyIn('/lab/demo/small:1.0.sif', other))).toBe(EHOSTUNREACH);
    await kept.stop();
    const { session, staging, kernel } = await open({ home });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await publish(session, {
      backend: 'lab',
      name: { collection: 'demo', image: 'small', tag: '1.0' },
      extension: 'sif',
      file: fixture('small-signed.sif'),
      size: (await image('small-signed.sif')).length,
    });
    await staging.restore(['lab']);
    await staging.idle();
    expect(session.state.journal.list()).toMatchObject([
      { state: 'incomplete', uri: 'lab://demo/small:1.0' },
    ]);
    const bytes = await kernel.readFile('/lab/demo/small:1.0.sif');
    expect(bytes.equals(await image('small-signed.sif'))).toBe(true);
  });

  test('pushes that were left are taken up two at a time', async () => {
    const home = await temporaryFolder();
    const before = await open({ home, publisher: failing('1') });
    for (const name of ['a', 'b', 'c', 'd']) {
      const copy = before.kernel.copyIn(`/lab/demo/${name}:1.sif`, small);
      expect(await errnoOfCall(copy)).toBe(EHOSTUNREACH);
    }
    await before.stop();
    let running = 0;
    let most = 0;
    const publisher = (session: Session): Partial<Publisher> => ({
      push: async (request) => {
        running += 1;
        most = Math.max(most, running);
        const pushed = await publish(session, request);
        running -= 1;
        return pushed;
      },
    });
    const { staging, session } = await open({ home, publisher });
    await staging.restore(['lab']);
    await expect.poll(() => session.state.journal.list()).toEqual([]);
    expect(most).toBe(2);
  });
});

test('a write that begins or goes on after its mount was ended is an error', async () => {
  const { kernel, filesystem, staging } = await open();
  await kernel.copyIn('/lab/demo/old:1.sif', small);
  const update = await kernel.open('/lab/demo/old:1.sif', O_RDWR);
  const copy = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
  await filesystem.write(copy, small.subarray(0, 4096), 0, 4096);
  await staging.stop();
  for (const handle of [update, copy]) {
    expect(await errnoOfCall(filesystem.write(handle, small.subarray(4096, 8192), 4096, 4096))).toBe(EIO);
    await errnoOfCall(kernel.close(handle));
  }
  expect(await stored('old:1.sif')).toEqual(small);
  expect(await stored('new:1.sif')).toBeUndefined();
});

test('a write waits a while for another process that holds the journal', async () => {
  const { kernel, filesystem, session } = await open();
  const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
  const busy = new SregistryError('DATABASE', 'another program keeps it locked');
  const create = vi.spyOn(session.state.journal, 'create').mockImplementationOnce(() => {
    throw busy;
  });
  onTestFinished(() => create.mockRestore());
  await writeAll(filesystem, handle, small);
  await kernel.close(handle);
  expect(create).toHaveBeenCalledTimes(2);
  expect(await stored('new:1.sif')).toEqual(small);
});

test('A file that is not yet in a registry belongs to its owner alone.', async () => {
  const { kernel, filesystem } = await open();
  const modeOf = async () => (await filesystem.getattr('/lab/demo/new:1.sif')).mode & 0o777;
  const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
  expect(await modeOf()).toBe(0o700);
  await writeAll(filesystem, handle, small);
  await filesystem.flush(handle);
  expect(await modeOf()).toBe(0o755);
  await kernel.release(handle);
});

describe('names', () => {
  test('A rename to another spelling of the same image changes nothing.', async () => {
    const { kernel } = await open({ allowDelete: true });
    await kernel.copyIn('/lab/demo/foo.sif', other);
    await kernel.rename('/lab/demo/small:1.0.sif', '/lab/demo/small:1.0.simg');
    await kernel.rename('/lab/demo/foo.sif', '/lab/demo/foo:latest.sif');
    expect((await kernel.readFile('/lab/demo/small:1.0.simg')).equals(small)).toBe(true);
    expect((await kernel.readFile('/lab/demo/foo:latest.sif')).equals(other)).toBe(true);
  });

  test('two spellings of one image are one file while it is written', async () => {
    const { kernel, filesystem } = await open();
    const writer = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    await writeAll(filesystem, writer, small);
    expect((await filesystem.getattr('/lab/demo/new:1.simg')).size).toBe(small.length);
    expect((await kernel.readFile('/lab/demo/new:1.simg')).equals(small)).toBe(true);
    await kernel.close(writer);
    expect((await kernel.readFile('/lab/demo/new:1.simg')).equals(small)).toBe(true);
  });

  test('a closed file is removed at once, also where its path is open by handles of another', async () => {
    const { kernel, filesystem } = await open();
    const replaced = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT);
    const writer = await kernel.open('/lab/demo/part.tmp', O_WRONLY | O_CREAT);
    // Over the first file, by another spelling of its name, and away again by its own: the first handle's path goes along.
    await kernel.rename('/lab/demo/part.tmp', '/lab/demo/new:1.simg');
    await kernel.rename('/lab/demo/new:1.sif', '/lab/demo/part.tmp');
    await writeAll(filesystem, writer, small);
    await kernel.close(writer);
    await kernel.unlink('/lab/demo/part.tmp');
    expect(await filesystem.readdir('/lab/demo')).toEqual(['small:1.0.sif']);
    await kernel.close(replaced);
  });

  test('what was pushed and is still open for writing is removed like any image of the registry', async () => {
    for (const allowDelete of [false, true]) {
      const { kernel, filesystem } = await open({ allowDelete });
      const handle = await kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_CREAT | O_TRUNC);
      await writeAll(filesystem, handle, small);
      await filesystem.flush(handle);
      expect(await errnoOfCall(filesystem.unlink('/lab/demo/new:1.sif'))).toBe(
        allowDelete ? undefined : EPERM,
      );
      expect(await stored('new:1.sif')).toEqual(allowDelete ? undefined : small);
      await kernel.release(handle);
      const left = await errnoOfCall(filesystem.getattr('/lab/demo/new:1.sif'));
      expect(left).toBe(allowDelete ? ENOENT : undefined);
    }
  });

  test('what was pushed and is still open for writing is renamed like any image of the registry', async () => {
    for (const allowDelete of [false, true]) {
      const { kernel, filesystem } = await open({ allowDelete });
      const handle = await kernel.open('/lab/demo/old:1.sif', O_WRONLY | O_CREAT | O_TRUNC);
      await writeAll(filesystem, handle, small);
      await filesystem.flush(handle);
      const renamed = await errnoOfCall(kernel.rename('/lab/demo/old:1.sif', '/lab/demo/new:1.sif'));
      expect(renamed).toBe(allowDelete ? undefined : EPERM);
      await kernel.release(handle);
      const [there, gone] = allowDelete ? ['new:1.sif', 'old:1.sif'] : ['old:1.sif', 'new:1.sif'];
      expect((await kernel.readFile(`/lab/demo/${there}`)).equals(small)).toBe(true);
      expect(await errnoOfCall(kernel.readFile(`/lab/demo/${gone}`))).toBe(ENOENT);
    }
  });

  test('with --no-overwrite a rename over a tag gives EEXIST, and both stay', async () => {
    const { kernel } = await open({ noOverwrite: true, allowDelete: true });
    await kernel.copyIn('/lab/demo/new:1.sif', other);
    const renamed = kernel.rename('/lab/demo/new:1.sif', '/lab/demo/small:1.0.sif');
    expect(await errnoOfCall(renamed)).toBe(EEXIST);
    expect(await stored('small:1.0.sif')).toEqual(small);
    expect(await stored('new:1.sif')).toEqual(other);
  });

  test('Renaming a file whose push failed pushes it under the new name.', async () => {
    const { kernel, session } = await open({ publisher: failing('bad') });
    expect(await errnoOfCall(kernel.copyIn('/lab/demo/new:bad.sif', small))).toBe(EHOSTUNREACH);
    await kernel.rename('/lab/demo/new:bad.sif', '/lab/demo/new:good.sif');
    expect(await stored('new:good.sif')).toEqual(small);
    expect(session.state.journal.list()).toEqual([]);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('what is no image is refused under a name of an image, and gone', async () => {
    const { kernel, session } = await open();
    const copy = kernel.copyIn('/lab/demo/notes:1.sif', Buffer.from('only some notes and no image at all'));
    expect(await errnoOfCall(copy)).toBe(EINVAL);
    expect(await errnoOfCall(kernel.filesystem.getattr('/lab/demo/notes:1.sif'))).toBe(ENOENT);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('A name of more than 255 bytes gives ENAMETOOLONG.', async () => {
    const { kernel, filesystem } = await open();
    const long = `/lab/demo/${'n'.repeat(251)}:1.sif`;
    const calls = [
      filesystem.getattr(long),
      filesystem.create(long),
      filesystem.open(long, 0),
      kernel.rename('/lab/demo/small:1.0.sif', long),
      filesystem.mkdir(`/lab/${'d'.repeat(256)}`),
    ];
    for (const errno of await Promise.all(calls.map(errnoOfCall))) expect(errno).toBe(os.errno.ENAMETOOLONG);
  });
});
