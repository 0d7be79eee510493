import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { liveness, ownProcess, type ProcessId } from '../../src/base/process.ts';
import { Owners } from '../../src/catalog/owners.ts';
import { openState } from '../../src/catalog/state.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const SOURCE = join(import.meta.dirname, '../../src');

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A process that has a state database open, and a push and a cached image of its own; by default of this namespace. */
async function owner(folder: string, wrapper: readonly string[] = []) {
  const script = join(folder, 'owner.ts');
  writeFileSync(
    script,
    `import { openState } from '${SOURCE}/catalog/state.ts';
     import { ownProcess } from '${SOURCE}/base/process.ts';
     const state = openState(${JSON.stringify(join(folder, 'cache'))});
     const { id } = state.journal.create({ backend: 'lab', path: 'x:1.sif', uri: 'lab://x:1', state: 'kept', bytes: 0,
       size: 1, owner: ownProcess() });
     state.cacheIndex.opens.acquire({ key: 'open', uri: 'lab://y:1', size: 1 }, () => {});
     console.log(JSON.stringify({ id, self: ownProcess() }));
     setInterval(() => {}, 1000);`,
  );
  const [command = '', ...args] = [...wrapper, process.execPath, '--no-warnings', script];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, ...(JSON.parse(line.toString()) as { id: string; self: ProcessId }) };
}

test('a process that has a state database open lives, and is dead when it was killed', async () => {
  const folder = temporaryFolder();
  const { child, self } = await owner(folder);
  const { owners, close } = openState(join(folder, 'cache'));
  expect(owners.isAlive(self)).toBe(true);
  expect(readdirSync(join(folder, 'cache', 'owners'))).toHaveLength(2);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(owners.isAlive(self)).toBe(false);
  expect(owners.sweep()).toBe(1);
  expect(owners.sweep()).toBe(0);
  expect(owners.isAlive(ownProcess())).toBe(true);
  close();
  expect(readdirSync(join(folder, 'cache', 'owners'))).toEqual([]);
});

test('two databases of one folder opened in one process share its lock', () => {
  const folder = join(temporaryFolder(), 'owners');
  const [one, two] = [new Owners(folder, ownProcess()), new Owners(folder, ownProcess())];
  one.close();
  expect(readdirSync(folder)).toHaveLength(1);
  expect(two.sweep()).toBe(0);
  two.close();
  expect(readdirSync(folder)).toEqual([]);
  expect(existsSync(folder)).toBe(true);
});

test('a process of another boot is dead', () => {
  const [, ...rest] = ownProcess().startTime.split(':');
  expect(liveness({ pid: process.pid, startTime: ['another-boot', ...rest].join(':') })).toBe('dead');
});

needs({ root: true })('a process in another pid namespace', () => {
  const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

  test('keeps its push and its open image while it lives, and not after', async () => {
    const folder = temporaryFolder();
    const { child, self, id } = await owner(folder, unshare);
    const { owners, journal, cacheIndex, close } = openState(join(folder, 'cache'));
    expect(liveness(self)).toBe('elsewhere');
    expect(owners.isAlive(self)).toBe(true);
    expect(journal.adopt(id, ownProcess())).toBeUndefined();
    expect(cacheIndex.evict('open', () => {})).toBe(false);
    expect(owners.sweep()).toBe(0);
    child.kill('SIGKILL');
    await expect.poll(() => owners.isAlive(self)).toBe(false);
    expect(journal.adopt(id, ownProcess())?.id).toBe(id);
    expect(cacheIndex.evict('open', () => {})).toBe(true);
    expect(owners.sweep()).toBe(1);
    close();
  });

  test('of the same pid as this one is another process', async () => {
    const folder = temporaryFolder();
    const { self } = await owner(folder, unshare);
    const { owners, close } = openState(join(folder, 'cache'));
    expect(owners.isAlive({ ...self, pid: process.pid })).toBe(false);
    close();
  });
});
