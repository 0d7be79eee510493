import { describe, expect, test } from 'vitest';
import { createPathIds, type FolderTree } from '../../../src/backends/kit/path-ids.ts';
import { SregistryError } from '../../../src/base/errors.ts';

/** A service whose folders have ids, and which records what it is asked. */
function fakeTree(paths: readonly string[] = []) {
  const folders = new Map<string, { parent: string; name: string }>([['root', { parent: '', name: '' }]]);
  const asked: string[] = [];
  let next = 1;
  /** Called before an answer is given; may wait or throw. */
  const fault: { hook?: (what: string) => Promise<void> | void } = {};

  const childOf = (parent: string, name: string) =>
    [...folders].find(([, folder]) => folder.parent === parent && folder.name === name)?.[0];
  const add = (parent: string, name: string) => {
    const id = `id${next++}`;
    folders.set(id, { parent, name });
    return id;
  };
  const make = (path: string) =>
    path.split('/').reduce((id, name) => childOf(id, name) ?? add(id, name), 'root');
  const idOf = (path: string) =>
    path.split('/').reduce<string | undefined>((id, name) => id && childOf(id, name), 'root');
  const gone = (parent: string) => {
    if (!folders.has(parent)) throw new SregistryError('NOT_FOUND', `no folder ${parent}`);
  };
  const tree: FolderTree = {
    root: 'root',
    find: async (parent, name) => {
      asked.push(`find ${name}`);
      gone(parent);
      const id = childOf(parent, name);
      await fault.hook?.(`find ${name}`);
      return id;
    },
    create: async (parent, name) => {
      asked.push(`create ${name}`);
      gone(parent);
      await fault.hook?.(`create ${name}`);
      return add(parent, name);
    },
  };
  for (const path of paths) make(path);
  return {
    tree,
    asked,
    fault,
    make,
    idOf,
    count: () => folders.size - 1,
    remove: (path: string) => folders.delete(idOf(path) ?? ''),
    rename: (path: string, name: string) => {
      const id = idOf(path) ?? '';
      folders.set(id, { parent: folders.get(id)?.parent ?? '', name });
    },
  };
}

const isFailure = (code: string) => expect.objectContaining({ code });

describe('Finding a folder', () => {
  test('asks once for each folder of its path, and for none that is known.', async () => {
    const service = fakeTree(['a/b/c', 'a/d']);
    const ids = createPathIds(service.tree);
    expect(await ids.find('a/b/c')).toBe(service.idOf('a/b/c'));
    expect(await ids.find('a/d')).toBe(service.idOf('a/d'));
    expect(await ids.find('a/b/c')).toBe(service.idOf('a/b/c'));
    expect(await ids.find('')).toBe('root');
    expect(service.asked).toEqual(['find a', 'find b', 'find c', 'find d']);
  });

  test('is done once for all who want something below it at the same time.', async () => {
    const service = fakeTree(['a/b/c', 'a/b/d']);
    service.fault.hook = () => new Promise((resolve) => setTimeout(resolve, 5));
    const ids = createPathIds(service.tree);
    const wanted = Array.from({ length: 30 }, (_, number) => (number % 2 ? 'a/b/c' : 'a/b/d'));
    expect(await Promise.all(wanted.map((path) => ids.find(path)))).toEqual(wanted.map(service.idOf));
    expect(service.asked.sort()).toEqual(['find a', 'find b', 'find c', 'find d']);
  });

  test('does not remember that a folder is absent.', async () => {
    const service = fakeTree(['a']);
    const ids = createPathIds(service.tree);
    expect(await ids.find('a/b')).toBeUndefined();
    service.make('a/b');
    expect(await ids.find('a/b')).toBe(service.idOf('a/b'));
  });

  test('that fails in the middle fails for all who wait, keeps what was found before, and is done anew next time.', async () => {
    const service = fakeTree(['a/b/c']);
    const ids = createPathIds(service.tree);
    service.fault.hook = (what) => {
      if (what === 'find b') throw new SregistryError('UNREACHABLE', 'a fault');
    };
    const outcomes = await Promise.allSettled([ids.find('a/b/c'), ids.find('a/b'), ids.ensure('a/b')]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: isFailure('UNREACHABLE') });
    delete service.fault.hook;
    expect(await ids.find('a/b/c')).toBe(service.idOf('a/b/c'));
    expect(service.asked.filter((what) => what === 'find a')).toHaveLength(2);
    expect(service.count()).toBe(3);
  });

  test('leaves the others waiting where one of them gives up.', async () => {
    const service = fakeTree(['a/b']);
    const answer = Promise.withResolvers<void>();
    service.fault.hook = () => answer.promise;
    const ids = createPathIds(service.tree);
    const caller = new AbortController();
    const leaving = ids.find('a/b', caller.signal);
    const staying = ids.find('a/b');
    caller.abort();
    await expect(leaving).rejects.toEqual(isFailure('CANCELED'));
    answer.resolve();
    expect(await staying).toBe(service.idOf('a/b'));
    expect(service.asked).toEqual(['find a', 'find b']);
  });

  test('keeps no more folders than it may.', async () => {
    const service = fakeTree(['a', 'b', 'c']);
    const ids = createPathIds(service.tree, { max: 2 });
    for (const path of ['a', 'b', 'c', 'c', 'a']) await ids.find(path);
    expect(service.asked).toEqual(['find a', 'find b', 'find c', 'find a']);
  });

  test('asks again after its time.', async () => {
    const service = fakeTree(['a']);
    const ids = createPathIds(service.tree, { ttl: 1 });
    await ids.find('a');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await ids.find('a');
    expect(service.asked).toEqual(['find a', 'find a']);
  });
});

describe('A folder that somebody else', () => {
  test('removed and made anew is found below its new id.', async () => {
    const service = fakeTree(['a/b']);
    const ids = createPathIds(service.tree);
    await ids.find('a/b');
    service.remove('a');
    service.make('a/c');
    expect(await ids.find('a/c')).toBe(service.idOf('a/c'));
  });

  test('removed is absent once its id turns out to be gone.', async () => {
    const service = fakeTree(['a/b']);
    const ids = createPathIds(service.tree);
    const list = async (id: string) => {
      if (id !== service.idOf('a/b')) throw new SregistryError('NOT_FOUND', `no folder ${id}`);
      return id;
    };
    const first = await ids.using('a/b', list);
    service.remove('a/b');
    await expect(ids.using('a/b', list)).rejects.toEqual(isFailure('NOT_FOUND'));
    service.make('a/b');
    const second = await ids.using('a/b', list);
    expect(second).not.toBe(first);
    service.remove('a/b');
    service.make('a/b');
    expect(await ids.using('a/b', list)).toBe(service.idOf('a/b'));
  });

  test('did not touch is not looked for again because something in it is absent.', async () => {
    const service = fakeTree(['a']);
    const ids = createPathIds(service.tree);
    const act = async () => {
      service.asked.push('act');
      throw new SregistryError('NOT_FOUND', 'no such file');
    };
    await expect(ids.using('a', act)).rejects.toMatchObject({ message: 'no such file' });
    expect(service.asked).toEqual(['find a', 'act', 'find a']);
  });
});

describe('After this process renamed or removed a folder', () => {
  test('nothing at or below its old path is answered from memory.', async () => {
    const service = fakeTree(['a/b/c', 'ab']);
    const ids = createPathIds(service.tree);
    await ids.find('a/b/c');
    await ids.find('ab');
    service.rename('a/b', 'z');
    ids.forget('a/b');
    expect(await ids.find('a/b/c')).toBeUndefined();
    expect(await ids.find('a/b')).toBeUndefined();
    expect(await ids.find('a/z/c')).toBe(service.idOf('a/z/c'));
    service.asked.length = 0;
    expect(await ids.find('ab')).toBe(service.idOf('ab'));
    expect(service.asked).toEqual([]);
  });

  test('a look-up that began before answers nobody who asks after it, and is not remembered.', async () => {
    const service = fakeTree(['a/b']);
    const answer = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    service.fault.hook = (what) => {
      if (what !== 'find b') return undefined;
      asked.resolve();
      return answer.promise;
    };
    const ids = createPathIds(service.tree);
    const before = ids.find('a/b');
    const old = service.idOf('a/b');
    await asked.promise;
    delete service.fault.hook;
    service.rename('a', 'z');
    ids.forget('a');
    expect(await ids.find('a/b')).toBeUndefined();
    answer.resolve();
    expect(await before).toBe(old);
    expect(await ids.find('a/b')).toBeUndefined();
    expect(await ids.find('z/b')).toBe(old);
  });
});

describe('Making a folder', () => {
  test('makes those above it, each once, however many ask.', async () => {
    const service = fakeTree();
    service.fault.hook = () => new Promise((resolve) => setTimeout(resolve, 2));
    const ids = createPathIds(service.tree);
    const paths = ['a/b', 'a/c', 'a/b', 'a', 'a/b/d'];
    const made = await Promise.all(paths.map((path) => ids.ensure(path)));
    expect(made).toEqual(paths.map(service.idOf));
    expect(service.count()).toBe(4);
    expect(await ids.find('a/b/d')).toBe(service.idOf('a/b/d'));
  });

  test('while another creation of it is on its way does not create it twice, even if a folder was removed in between.', async () => {
    const service = fakeTree(['b']);
    const answer = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    service.fault.hook = (what) => {
      if (what !== 'create a') return undefined;
      asked.resolve();
      return answer.promise;
    };
    const ids = createPathIds(service.tree);
    const first = ids.ensure('a/c');
    await asked.promise;
    service.remove('b');
    ids.forget('b');
    const second = ids.ensure('a/c');
    await new Promise(setImmediate);
    answer.resolve();
    expect(await Promise.all([first, second])).toEqual([service.idOf('a/c'), service.idOf('a/c')]);
    expect(service.count()).toBe(2);
  });

  test('that failed for others is done for whoever waited for them.', async () => {
    const service = fakeTree();
    service.fault.hook = (what) => {
      if (what !== 'create a') return;
      delete service.fault.hook;
      throw new SregistryError('UNREACHABLE', 'a fault');
    };
    const ids = createPathIds(service.tree);
    const first = ids.ensure('a');
    ids.forget('b');
    const [failed, made] = await Promise.allSettled([first, ids.ensure('a')]);
    expect(failed).toMatchObject({ reason: isFailure('UNREACHABLE') });
    expect(made).toMatchObject({ value: service.idOf('a') });
  });

  test('whose parent somebody else removed makes that anew.', async () => {
    const service = fakeTree(['a']);
    const ids = createPathIds(service.tree);
    await ids.ensure('a');
    service.remove('a');
    expect(await ids.ensure('a/b')).toBe(service.idOf('a/b'));
  });

  test('is UNSUPPORTED where the service makes none.', async () => {
    const { create: _, ...tree } = fakeTree().tree;
    await expect(createPathIds(tree).ensure('a')).rejects.toEqual(isFailure('UNSUPPORTED'));
  });
});
