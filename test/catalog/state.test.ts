import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Sqlite from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { ownProcess } from '../../src/base/process.ts';
import { openState, type State } from '../../src/catalog/state.ts';
import { isKnownSound, revisionOf } from '../../src/catalog/state-check.ts';
import type { ListEntry, RemoteImage } from '../../src/image/remote.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const run = promisify(execFile);

function open(folder: string): State {
  const state = openState(folder);
  onTestFinished(() => state.close());
  return state;
}

const name = { collection: 'lab/tools', image: 'samtools', tag: '1.9' };
const remote: RemoteImage = {
  name,
  size: 4096,
  modified: new Date('2024-05-06T07:08:09.010Z'),
  digest: `sha256:${'a'.repeat(64)}`,
  revision: 'etag-1',
  annotations: { modified: '2001-01-01T00:00:00.000Z' },
  handle: { key: 'lab/tools/samtools:1.9.sif', part: 2 },
};

const push = {
  backend: 'lab',
  path: 'demo/x:1.simg',
  uri: 'lab://demo/x:1',
  state: 'staging',
  bytes: 0,
  size: 10,
  staged: '/staged/1',
  owner: ownProcess(),
} as const;

const nobody = { pid: 2 ** 22 + 1, startTime: 'long ago' };

test('the cache folder is made, for its owner only', () => {
  const folder = join(temporaryFolder(), 'a', 'b');
  open(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test('a listing comes back with its images and their dates', () => {
  const { listings } = open(temporaryFolder());
  const entries: ListEntry[] = [
    { kind: 'collection', name: 'sub' },
    { kind: 'image', name },
    { kind: 'image', name, remote },
  ];
  listings.put('lab', 'lab/tools', { entries, complete: true, fetchedAt: 1_700_000_000_123 });
  expect(listings.get('lab', 'lab/tools')).toEqual({ entries, complete: true, fetchedAt: 1_700_000_000_123 });
});

test('forgetting listings spares other collections and other backends', () => {
  const { listings } = open(temporaryFolder());
  const listing = { entries: [], complete: false, fetchedAt: 1 };
  for (const [backend, collection] of [
    ['a', ''],
    ['a', 'x'],
    ['b', ''],
  ] as const) {
    listings.put(backend, collection, listing);
  }
  listings.forget('a', 'x');
  expect(listings.get('a', 'x')).toBeUndefined();
  expect(listings.get('a', '')).toEqual(listing);
  listings.forget('a');
  expect(listings.get('a', '')).toBeUndefined();
  expect(listings.get('b', '')).toEqual(listing);
});

test('an answer that there is no such image is not the same as no answer', () => {
  const { remotes } = open(temporaryFolder());
  const fetchedAt = Date.now();
  remotes.put('lab', 'gone', { image: undefined, fetchedAt });
  expect(remotes.get('lab', 'gone')).toEqual({ image: undefined, fetchedAt });
  expect(remotes.get('lab', 'never asked')).toBeUndefined();
});

test('the images seen at a backend are listed by name, without the absent ones', () => {
  const { remotes } = open(temporaryFolder());
  remotes.put('lab', 'b', { image: remote, fetchedAt: 2 });
  remotes.put('lab', 'a', { image: { ...remote, size: 1 }, fetchedAt: 1 });
  remotes.put('lab', 'c', { image: undefined, fetchedAt: 3 });
  remotes.put('other', 'd', { image: remote, fetchedAt: 4 });
  expect(remotes.list('lab')).toEqual([
    { image: { ...remote, size: 1 }, fetchedAt: 1 },
    { image: remote, fetchedAt: 2 },
  ]);
});

test('the images seen directly in a collection, and no others', () => {
  const { remotes } = open(temporaryFolder());
  const names = ['top:1', 'demo/a:1', 'demo/b:1', 'demo/deeper/c:1', 'demo0/d:1', 'demo-x/e:1', 'de/f:1'];
  for (const [size, name] of names.entries())
    remotes.put('lab', name, { image: { ...remote, size }, fetchedAt: 1 });
  remotes.put('lab', 'demo/gone:1', { image: undefined, fetchedAt: 1 });
  const seen = (collection: string) =>
    remotes.listIn('lab', collection).map(({ image }) => names[image.size]);
  expect(seen('demo')).toEqual(['demo/a:1', 'demo/b:1']);
  expect(seen('demo/deeper')).toEqual(['demo/deeper/c:1']);
  expect(seen('')).toEqual(['top:1']);
  expect(seen('none')).toEqual([]);
});

test('of the names that are absent only the newest thousands are kept', () => {
  const { remotes } = open(temporaryFolder());
  for (let i = 0; i < 7_000; i += 1) remotes.put('lab', `none-${i}`, { image: undefined, fetchedAt: i });
  expect(remotes.get('lab', 'none-0')).toBeUndefined();
  expect(remotes.get('lab', 'none-6999')).toBeDefined();
});

test('names that were absent days ago do not pile up', () => {
  const folder = temporaryFolder();
  const first = openState(folder);
  first.remotes.put('lab', 'old', { image: undefined, fetchedAt: Date.now() - 2 * 86_400_000 });
  first.remotes.put('lab', 'new', { image: undefined, fetchedAt: Date.now() });
  first.remotes.put('lab', 'image', { image: remote, fetchedAt: 0 });
  first.close();
  const { remotes } = open(folder);
  expect(remotes.get('lab', 'old')).toBeUndefined();
  expect(remotes.get('lab', 'new')).toBeDefined();
  expect(remotes.get('lab', 'image')).toBeDefined();
});

test('a push in the journal survives a restart with all it holds', () => {
  const folder = temporaryFolder();
  const first = openState(folder);
  const created = first.journal.create({
    ...push,
    resume: { upload: 'u', parts: [1, 2] },
    annotations: { a: 'b' },
  });
  first.close();
  expect(open(folder).journal.get(created.id)).toEqual({ error: undefined, hint: undefined, ...created });
});

test('a change of a push keeps what it does not name and clears what it gives as undefined', () => {
  const { journal } = open(temporaryFolder());
  const { id } = journal.create({ ...push, error: 'no route', resume: { upload: 'u' } });
  journal.update(id, { state: 'refused', bytes: 3, error: undefined, staged: undefined });
  expect(journal.get(id)).toMatchObject({ state: 'refused', bytes: 3, size: 10, resume: { upload: 'u' } });
  expect(journal.get(id)?.error).toBeUndefined();
  expect(journal.get(id)?.staged).toBeUndefined();
});

test('changing a push that was removed meanwhile brings nothing back', () => {
  const { journal } = open(temporaryFolder());
  const { id } = journal.create(push);
  journal.remove(id);
  expect(journal.update(id, { bytes: 5 })).toBeUndefined();
  expect(journal.list()).toEqual([]);
});

test('a path shows what is staged there last, not a later attempt that was refused', () => {
  const { journal } = open(temporaryFolder());
  journal.create(push);
  const second = journal.create({ ...push, state: 'kept' });
  journal.create({ ...push, state: 'refused', staged: undefined });
  journal.create({ ...push, backend: 'other' });
  expect(journal.findByPath('lab', push.path)?.id).toBe(second.id);
  expect(journal.findByPath('lab', 'elsewhere')).toBeUndefined();
});

test('of refused pushes the newest hundred are kept, and every other push', () => {
  const { journal } = open(temporaryFolder());
  const kept = journal.create({ ...push, state: 'kept' });
  for (let i = 0; i < 105; i++)
    journal.create({ ...push, path: `${i}`, state: 'refused', staged: undefined });
  expect(journal.list()).toHaveLength(101);
  expect(journal.get(kept.id)).toBeDefined();
  expect(journal.findByPath('lab', '4')).toBeUndefined();
  expect(journal.findByPath('lab', '104')).toBeDefined();
});

test('a push is adopted from a dead owner, never from a living one', () => {
  const { journal } = open(temporaryFolder());
  const orphan = journal.create({ ...push, owner: nobody });
  const mine = journal.create(push);
  expect(journal.adopt(orphan.id, ownProcess())?.owner).toEqual(ownProcess());
  expect(journal.adopt(mine.id, nobody)).toBeUndefined();
  expect(journal.adopt(mine.id, ownProcess())?.id).toBe(mine.id);
  expect(journal.adopt('no such record', ownProcess())).toBeUndefined();
});

/** Runs `body`, which sees `folder` and `openState`, in processes of their own at the same time; their outputs. */
async function inProcesses(count: number, folder: string, body: string): Promise<string[]> {
  const script = join(folder, 'worker.ts');
  const source = join(import.meta.dirname, '../../src');
  writeFileSync(
    script,
    `import { openState } from '${source}/catalog/state.ts';
     import { ownProcess } from '${source}/base/process.ts';
     const folder = ${JSON.stringify(join(folder, 'cache'))};
     ${body}`,
  );
  const outputs = await Promise.all(
    Array.from({ length: count }, () => run(process.execPath, ['--no-warnings', script])),
  );
  return outputs.map(({ stdout }) => stdout.trim());
}

test('several processes open a new state.db at once and write to it without losing a record', async () => {
  const folder = temporaryFolder();
  await inProcesses(
    4,
    folder,
    `const state = openState(folder);
     for (let i = 0; i < 50; i++) {
       const { id } = state.journal.create({ ...${JSON.stringify(push)}, owner: ownProcess() });
       state.journal.update(id, { bytes: i });
     }
     state.close();`,
  );
  const bytes = open(join(folder, 'cache'))
    .journal.list()
    .map((record) => record.bytes);
  expect(bytes.sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => Math.floor(i / 4)));
});

test('of several processes that adopt one push at once, one gets it', async () => {
  const folder = temporaryFolder();
  const state = open(join(folder, 'cache'));
  for (let i = 0; i < 20; i++) state.journal.create({ ...push, path: `${i}`, owner: nobody });
  // Each adopts what it can and lives on until all have tried: a process that ended could be inherited from.
  const outputs = await inProcesses(
    3,
    folder,
    `const state = openState(folder);
     const got = state.journal.list().filter((record) => state.journal.adopt(record.id, ownProcess()));
     state.remotes.put('tried', String(process.pid), { image: undefined, fetchedAt: Date.now() });
     const tried = () => state.db.prepare("SELECT COUNT(*) AS n FROM remotes WHERE backend = 'tried'").get().n;
     while (tried() < 3) await new Promise((resolve) => setTimeout(resolve, 5));
     console.log(got.length);`,
  );
  expect(outputs.map(Number).reduce((a, b) => a + b)).toBe(20);
});

test('a file that is no database is moved aside and a new one works', () => {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder, 'state.db'),
    'this is not a database at all, it only has the name of one\n'.repeat(50),
  );
  const state = open(folder);
  expect(readFileSync(state.movedAside as string, 'utf8')).toContain('only has the name');
  expect(state.movedAside).toContain('state.db.damaged-');
  state.journal.create(push);
  expect(state.journal.list()).toHaveLength(1);
});

test('pushes are saved from a database whose damage is elsewhere', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'state.db');
  const first = openState(folder);
  const kept = first.journal.create({ ...push, state: 'kept' });
  for (let i = 0; i < 400; i++) first.remotes.put('lab', `${i}`, { image: remote, fetchedAt: 1 });
  first.close();
  const bytes = readFileSync(path);
  bytes.fill(0xff, bytes.length - 20 * 4096);
  writeFileSync(path, bytes);
  const state = open(folder);
  expect(state.movedAside).toBeDefined();
  expect(state.journal.get(kept.id)).toMatchObject({ staged: '/staged/1', state: 'kept' });
});

test('several processes that meet a damaged file move it aside once', async () => {
  const folder = temporaryFolder();
  const cache = join(folder, 'cache');
  mkdirSync(cache);
  writeFileSync(join(cache, 'state.db'), 'no database '.repeat(1000));
  await inProcesses(
    4,
    folder,
    `const state = openState(folder);
     state.journal.create({ ...${JSON.stringify(push)}, owner: ownProcess() });
     state.close();`,
  );
  expect(readdirSync(cache).filter((file) => file.includes('damaged'))).toHaveLength(1);
  expect(open(cache).journal.list()).toHaveLength(4);
});

test('a database of a newer version is refused, and left as it is', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'state.db');
  const newer = new Sqlite(path);
  newer.pragma('user_version = 1000');
  newer.close();
  expect(() => openState(folder)).toThrow(/made by a newer sregistry: its schema has version 1000/);
  expect(existsSync(path)).toBe(true);
  expect(readdirSync(folder).filter((file) => file.includes('damaged'))).toEqual([]);
});

test('a folder that cannot be made is named in the error', () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  expect(() => openState(join(file, 'cache'))).toThrow(SregistryError);
  expect(() => openState(join(file, 'cache'))).toThrow(`${file}/cache`);
});

/** A state.db with damage in the remotes, and the note that it was checked `age` milliseconds ago as it is. */
function damagedState(folder: string, age: number): void {
  const path = join(folder, 'state.db');
  const state = openState(folder);
  for (let i = 0; i < 400; i++) state.remotes.put('lab', `${i}`, { image: remote, fetchedAt: 1 });
  state.close();
  const bytes = readFileSync(path);
  bytes.fill(0xff, bytes.length - 20 * 4096);
  writeFileSync(path, bytes);
  const checked = Date.now() - age;
  writeFileSync(`${path}.sound`, JSON.stringify({ revision: revisionOf(path), checked }));
}

test('a file that is as it was left is not looked through for damage, but once a day it is', () => {
  const [today, yesterday] = [temporaryFolder(), temporaryFolder()];
  damagedState(today, 60_000);
  expect(open(today).movedAside).toBeUndefined();
  damagedState(yesterday, 25 * 60 * 60 * 1000);
  expect(open(yesterday).movedAside).toBeDefined();
});

test('a statement that meets damage makes the next process look for it', () => {
  const folder = temporaryFolder();
  damagedState(folder, 0);
  const state = open(folder);
  expect(state.movedAside).toBeUndefined();
  expect(() => state.remotes.list('lab')).toThrow(/damaged/);
  state.close();
  expect(open(folder).movedAside).toBeDefined();
});

test('what is closed is known to be sound when it is opened again', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'state.db');
  const first = openState(folder);
  for (let i = 0; i < 400; i++) first.remotes.put('lab', `${i}`, { image: remote, fetchedAt: 1 });
  first.close();
  expect(isKnownSound(path)).toBe(true);
  writeFileSync(path, readFileSync(path));
  expect(isKnownSound(path)).toBe(false);
  openState(folder).close();
  expect(isKnownSound(path)).toBe(true);
});

test('opening a database that is sound waits for no other process that opens it', () => {
  const folder = temporaryFolder();
  openState(folder).close();
  const lock = new Sqlite(join(folder, 'state.db.lock'));
  onTestFinished(() => void lock.close());
  lock.exec('BEGIN EXCLUSIVE');
  expect(open(folder).journal.list()).toEqual([]);
});

test('a statement keeps the event loop for a second at most', () => {
  expect(open(temporaryFolder()).db.pragma('busy_timeout', { simple: true })).toBe(1000);
});

test('after a wait in vain writes do not wait for the lock again, until one succeeds', () => {
  const folder = temporaryFolder();
  const { db, journal } = open(folder);
  const patience = () => db.pragma('busy_timeout', { simple: true });
  const other = new Sqlite(join(folder, 'state.db'));
  onTestFinished(() => void other.close());
  other.exec('BEGIN IMMEDIATE');
  expect(() => journal.create(push)).toThrow('another program keeps it locked');
  expect(patience()).toBe(0);
  expect(() => journal.create(push)).toThrow('another program keeps it locked');
  expect(journal.list()).toEqual([]);
  expect(patience()).toBe(0);
  other.exec('ROLLBACK');
  journal.create(push);
  expect(patience()).toBe(1000);
});

test('a database that cannot be written is opened all the same', () => {
  const folder = temporaryFolder();
  open(folder);
  const other = new Sqlite(join(folder, 'state.db'));
  onTestFinished(() => void other.close());
  other.exec('BEGIN IMMEDIATE');
  expect(open(folder).journal.list()).toEqual([]);
});

test('the database and what lies beside it are for the owner only, whatever the umask and whatever they were', () => {
  const folder = temporaryFolder();
  const modes = () =>
    readdirSync(folder)
      .filter((file) => file !== 'owners')
      .sort()
      .map((file) => [file, (statSync(join(folder, file)).mode & 0o777).toString(8)]);
  const umask = process.umask(0o027);
  try {
    open(folder).journal.create(push);
  } finally {
    process.umask(umask);
  }
  const files = ['state.db', 'state.db-shm', 'state.db-wal', 'state.db.lock', 'state.db.sound'];
  expect(modes()).toEqual(files.map((file) => [file, '600']));
  for (const file of files) chmodSync(join(folder, file), 0o666);
  chmodSync(folder, 0o755);
  open(folder);
  expect(modes().slice(0, 3)).toEqual(files.slice(0, 3).map((file) => [file, '600']));
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});
