/** Files that were written and are not pushed: what becomes of them with the journal, without it, and beside newer ones. */
import { constants } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { noteSpare, noteStaged, readNote } from '../../src/catalog/staged-note.ts';
import { listKept, pushKept } from '../../src/client/kept.ts';
import { publish } from '../../src/client/publish.ts';
import type { Session } from '../../src/client/session.ts';
import { StagedFile } from '../../src/fs/staged-file.ts';
import { newStagedName } from '../../src/fs/staged-name.ts';
import { failing, gated, other, small, unreachable, useLab } from './lab.ts';
import { errnoOfCall, fixture, stagedFiles, writeAll } from './support.ts';

const { O_CREAT, O_RDWR, O_WRONLY } = constants;
const { EEXIST, EHOSTUNREACH } = os.constants.errno as Record<string, number>;

const PATH = '/lab/demo/new:1.sif';
const NAME = { collection: 'demo', image: 'new', tag: '1' };
/** Lives nowhere. */
const DEAD = { pid: 4_190_000, startTime: 'x:y:1' };

const lab = useLab();
const { open, stored } = lab;

/** A home in which a mount that ended kept a file that it could not push. */
async function homeWithKept(path = PATH, bytes = small): Promise<string> {
  const { kernel, home, stop } = await open({ publisher: failing() });
  expect(await errnoOfCall(kernel.copyIn(path, bytes))).toBe(EHOSTUNREACH);
  await stop();
  return home;
}

/** Makes the staged files those of a process that is dead, and takes the journal away. */
async function loseJournal(home: string): Promise<void> {
  const cache = join(home, 'cache');
  for (const name of await readdir(cache)) {
    if (name.startsWith('state.db')) await rm(join(cache, name));
  }
  const folder = join(cache, 'staging');
  const dead = newStagedName(DEAD).split('~').slice(0, -1).join('~');
  for (const name of await readdir(folder))
    await rename(join(folder, name), join(folder, `${dead}~${name.split('~').at(-1)}`));
}

/** Pushes as another process on the same cache does, of bytes that were whole a while later. */
function publishNewer(session: Session) {
  const file = fixture('small-zstd.sif');
  const closedAt = Date.now() + 1_000;
  return publish(session, {
    backend: 'lab',
    name: NAME,
    extension: 'sif',
    file,
    size: other.length,
    closedAt,
  });
}

describe('without its record', () => {
  test("a kept file is listed after the journal was lost, and pushed on its owner's word", async () => {
    const home = await homeWithKept();
    await loseJournal(home);
    const { session, staging } = await open({ home });
    await staging.restore(['lab']);
    await staging.idle();
    expect(await stored('new:1.sif')).toBeUndefined();
    const kept = listKept(session, 'lab://demo/new:1');
    expect(kept).toMatchObject([
      { state: 'incomplete', path: 'demo/new:1.sif', hint: expect.stringContaining('push --kept') },
    ]);
    for (const each of kept) await pushKept(session, each);
    expect(await stored('new:1.sif')).toEqual(small);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('a file has a note of its place that only its owner reads, and that follows a rename', async () => {
    const { kernel, session } = await open({ publisher: failing() });
    await errnoOfCall(kernel.copyIn(PATH, small));
    const staged = listKept(session)[0]?.staged as string;
    expect(readNote(staged)).toEqual({ backend: 'lab', path: 'demo/new:1.sif', uri: 'lab://demo/new:1' });
    expect((await stat(`${staged}.json`)).mode & 0o777).toBe(0o600);
    await errnoOfCall(kernel.rename(PATH, '/lab/demo/new:2.sif'));
    expect(readNote(staged)).toMatchObject({ path: 'demo/new:2.sif', uri: 'lab://demo/new:2' });
    await kernel.unlink('/lab/demo/new:2.sif');
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('what nothing would be lost with is cleared away, and bytes that nobody noted are not', async () => {
    const { session, staging } = await open();
    const folder = session.stagingFolder;
    await mkdir(folder, { recursive: true });
    const put = async (bytes: string) => {
      const file = join(folder, newStagedName(DEAD));
      await writeFile(file, bytes);
      return file;
    };
    const place = { backend: 'lab', path: 'demo/new:1.sif', uri: 'lab://demo/new:1' };
    noteStaged(await put(''), place);
    noteStaged(join(folder, newStagedName(DEAD)), place);
    noteSpare(await put('pushed'));
    await writeFile(join(folder, '1-copy.sregistry.part'), 'a copy on its way');
    const unknown = await put('of whom?');
    await staging.restore(['lab']);
    expect((await stagedFiles(session)).map((name) => join(folder, name))).toEqual([unknown]);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete', staged: unknown, size: 8 }]);
  });
});

describe('beside newer files', () => {
  test('what was left does not take the place of a file that is begun meanwhile', async () => {
    const home = await homeWithKept();
    const { filesystem, staging, session } = await open({ home });
    await filesystem.getattr('/lab/demo');
    const restore = StagedFile.restore.bind(StagedFile);
    let handle: number | undefined;
    const spy = vi.spyOn(StagedFile, 'restore').mockImplementation(async (...args) => {
      const restored = await restore(...args);
      handle = await filesystem.create(PATH);
      return restored;
    });
    onTestFinished(() => spy.mockRestore());
    await staging.restore(['lab']);
    expect(staging.find(PATH)?.state).toBe('open');
    await writeAll(filesystem, handle as number, other);
    await filesystem.flush(handle as number);
    await filesystem.release(handle as number);
    await staging.idle();
    expect(await stored('new:1.sif')).toEqual(other);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete', superseded: true }]);
  });

  test('a retry under way that fails after something newer was pushed is not kept', async () => {
    const home = await homeWithKept();
    const gate = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const retrying = await open({
      home,
      publisher: () => ({
        push: async () => {
          started.resolve();
          await gate.promise;
          throw unreachable;
        },
      }),
    });
    await retrying.staging.restore(['lab']);
    await started.promise;
    const newer = await open({ home });
    await publishNewer(newer.session);
    gate.resolve();
    await retrying.staging.idle();
    expect(newer.session.state.journal.list()).toMatchObject([{ state: 'incomplete', superseded: true }]);
    await retrying.stop();
    await newer.staging.restore(['lab']);
    await newer.staging.idle();
    expect(await stored('new:1.sif')).toEqual(other);
  });

  test('a push that was superseded under way is listed by the next mount, and not begun again', async () => {
    const home = await homeWithKept();
    const { session, staging } = await open({ home });
    const { journal } = session.state;
    const id = journal.list()[0]?.id as string;
    journal.update(id, { state: 'pushing' });
    await publishNewer(session);
    expect(journal.get(id)).toMatchObject({ state: 'pushing', superseded: true });
    await staging.restore(['lab']);
    await staging.idle();
    expect(journal.get(id)).toMatchObject({ state: 'incomplete' });
    expect(await stored('new:1.sif')).toEqual(other);
  });

  test('what is superseded while it waits for its turn leaves its place, and is not pushed', async () => {
    const home = await homeWithKept();
    const { session, staging } = await open({ home });
    const { journal } = session.state;
    const id = journal.list()[0]?.id as string;
    const restore = StagedFile.restore.bind(StagedFile);
    const spy = vi.spyOn(StagedFile, 'restore').mockImplementation(async (...args) => {
      await publishNewer(session);
      return restore(...args);
    });
    onTestFinished(() => spy.mockRestore());
    await staging.restore(['lab']);
    await staging.idle();
    expect(journal.get(id)).toMatchObject({ state: 'incomplete', superseded: true });
    await expect.poll(() => staging.find(PATH)).toBeUndefined();
    expect(await stored('new:1.sif')).toEqual(other);
  });

  test('a retry does not begin while another process writes or pushes something newer to its name', async () => {
    const home = await homeWithKept();
    const gate = gated();
    const retrying = await open({ home });
    const newer = await open({ home, publisher: gate.publisher });
    const restore = StagedFile.restore.bind(StagedFile);
    const copies: Promise<void>[] = [];
    const spy = vi.spyOn(StagedFile, 'restore').mockImplementation(async (...args) => {
      copies.push(newer.kernel.copyIn(PATH, other));
      await gate.started;
      return restore(...args);
    });
    onTestFinished(() => spy.mockRestore());
    await retrying.staging.restore(['lab']);
    await expect.poll(() => retrying.staging.find(PATH)).toBeUndefined();
    expect(await stored('new:1.sif')).toBeUndefined();
    gate.open();
    await Promise.all(copies);
    expect(await stored('new:1.sif')).toEqual(other);
    expect(retrying.session.state.journal.list()).toMatchObject([{ state: 'incomplete', superseded: true }]);
  });

  test('a push waits for one under way to its name whose file was closed before', async () => {
    const home = await homeWithKept();
    const gate = gated();
    const retrying = await open({ home, publisher: gate.publisher });
    await retrying.staging.restore(['lab']);
    await gate.started;
    const newer = await open({ home });
    const copy = newer.kernel.copyIn(PATH, other);
    // Time enough to push, were it not to wait.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await stored('new:1.sif')).toBeUndefined();
    gate.open();
    await copy;
    await retrying.staging.idle();
    expect(await stored('new:1.sif')).toEqual(other);
    expect(newer.session.state.journal.list()).toEqual([]);
  });

  test('when a file was closed is not moved by retries, and forgotten with its next change', async () => {
    const home = await homeWithKept();
    const { session, staging, kernel, filesystem } = await open({ home, publisher: failing() });
    const { journal } = session.state;
    const id = journal.list()[0]?.id as string;
    expect(journal.get(id)?.closedAt).toBeGreaterThan(0);
    journal.update(id, { closedAt: 1_000 });
    await staging.restore(['lab']);
    await staging.idle();
    expect(journal.get(id)).toMatchObject({ state: 'kept', closedAt: 1_000 });
    const handle = await kernel.open(PATH, O_RDWR);
    await filesystem.write(handle, small.subarray(0, 1), 0, 1);
    expect(journal.get(id)).toMatchObject({ state: 'staging', closedAt: undefined });
    await errnoOfCall(kernel.close(handle));
    expect(journal.get(id)?.closedAt).toBeGreaterThan(1_000);
  });

  test('a push supersedes what was closed before its bytes were, and nothing else', async () => {
    const { session } = await open();
    const { journal } = session.state;
    const push = { backend: 'lab', path: 'demo/new:1.sif', uri: 'lab://demo/new:1', bytes: 0, size: 1 };
    const keep = (closedAt: number) =>
      journal.create({ ...push, staged: '/staged', state: 'kept', owner: DEAD, closedAt }).id;
    const [older, newer] = [keep(100), keep(200)];
    journal.supersede(push.uri, 150);
    expect(journal.get(older)).toMatchObject({ state: 'incomplete' });
    expect(journal.get(newer)).toMatchObject({ state: 'kept' });
  });
});

describe('--no-overwrite', () => {
  test('a tag that others made while its file was written gives EEXIST, and the file is listed', async () => {
    const { kernel, filesystem, session } = await open({ noOverwrite: true });
    const handle = await kernel.open(PATH, O_WRONLY | O_CREAT);
    await writeAll(filesystem, handle, other);
    await writeFile(join(lab.folder(), 'new:1.sif'), small);
    expect(await errnoOfCall(kernel.close(handle))).toBe(EEXIST);
    expect(await stored('new:1.sif')).toEqual(small);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });

  test('what another mount kept is not pushed over a tag that was made since', async () => {
    const home = await homeWithKept();
    await writeFile(join(lab.folder(), 'new:1.sif'), other);
    const { staging, session } = await open({ home, noOverwrite: true });
    await staging.restore(['lab']);
    await staging.idle();
    expect(await stored('new:1.sif')).toEqual(other);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });
});
