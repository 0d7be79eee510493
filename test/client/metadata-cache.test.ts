import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { SregistryError } from '../../src/base/errors.ts';
import { openState, type State } from '../../src/catalog/state.ts';
import { MetadataCache } from '../../src/client/metadata-cache.ts';
import type { ListEntry, RemoteImage } from '../../src/image/remote.ts';
import { bot } from '../../src/log/index.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const name = { collection: 'demo', image: 'x', tag: '1' };
const image = (revision: string): RemoteImage => ({
  name,
  size: 1,
  digest: undefined,
  revision,
  // More than fits into a page that has room left.
  handle: { key: 'x'.repeat(5000) },
});
const entries: ListEntry[] = [{ kind: 'image', name }];

/** A service whose answers the test gives, one by one. */
function service() {
  const signals: (AbortSignal | undefined)[] = [];
  const answers: PromiseWithResolvers<RemoteImage | undefined>[] = [];
  const backend = {
    name: 'lab',
    target: 'https://lab.example',
    resolve: (_: unknown, signal?: AbortSignal) => {
      const answer = Promise.withResolvers<RemoteImage | undefined>();
      signals.push(signal);
      answers.push(answer);
      return answer.promise;
    },
    list: async function* () {
      yield* entries;
    },
  } as unknown as Backend;
  const answer = async (index: number, given: RemoteImage | Error | undefined) => {
    await vi.waitFor(() => expect(answers.length).toBeGreaterThan(index));
    if (given instanceof Error) answers[index]?.reject(given);
    else answers[index]?.resolve(given);
  };
  return { backend, signals, answers, answer };
}

function open({ ttl = 60_000 } = {}) {
  const folder = temporaryFolder();
  const state = openState(folder);
  onTestFinished(() => state.close());
  return { folder, state, metadata: new MetadataCache({ state, ttl, offline: false }) };
}

describe('a lookup that several callers share', () => {
  test('goes on when the first caller’s signal fires', async () => {
    const { metadata } = open();
    const { backend, signals, answer } = service();
    const first = new AbortController();
    const leaving = metadata.images.resolve(backend, name, first.signal);
    const staying = metadata.images.resolve(backend, name);
    await vi.waitFor(() => expect(signals).toHaveLength(1));
    const reason = new SregistryError('TIMED_OUT', 'this caller’s deadline');
    first.abort(reason);
    await expect(leaving).rejects.toBe(reason);
    await answer(0, image('r1'));
    expect(await staying).toMatchObject({ revision: 'r1' });
    expect(signals).toHaveLength(1);
  });

  test('is aborted when nobody waits any more, and the next caller asks anew', async () => {
    const { metadata } = open();
    const { backend, signals, answer } = service();
    const callers = [new AbortController(), new AbortController()];
    const leaving = callers.map(({ signal }) => metadata.images.resolve(backend, name, signal));
    await vi.waitFor(() => expect(signals).toHaveLength(1));
    for (const caller of callers) caller.abort(new SregistryError('TIMED_OUT', 'too late'));
    for (const each of leaving) await expect(each).rejects.toMatchObject({ code: 'TIMED_OUT' });
    expect(signals[0]?.aborted).toBe(true);
    const next = metadata.images.resolve(backend, name);
    await answer(1, image('r2'));
    await answer(0, image('r1'));
    expect(await next).toMatchObject({ revision: 'r2' });
    expect(await metadata.images.resolve(backend, name)).toMatchObject({ revision: 'r2' });
  });

  test('fails for all of them together', async () => {
    const { metadata } = open();
    const { backend, signals, answer } = service();
    const callers = [
      metadata.images.resolve(backend, name),
      metadata.images.resolve(backend, name, new AbortController().signal),
    ];
    await answer(0, new SregistryError('UNREACHABLE', 'no route'));
    for (const each of callers) await expect(each).rejects.toThrow('no route');
    expect(signals).toHaveLength(1);
  });

  test('is not remembered over what was pushed while it was under way', async () => {
    const { metadata } = open();
    const { backend, signals, answer } = service();
    const before = metadata.images.resolve(backend, name);
    await vi.waitFor(() => expect(signals).toHaveLength(1));
    metadata.images.put(backend, name, image('pushed'));
    await answer(0, undefined);
    expect(await before).toBeUndefined();
    expect(await metadata.images.resolve(backend, name)).toMatchObject({ revision: 'pushed' });
  });
});

describe('A lookup and a listing succeed with a catalog that', () => {
  const faults: Record<string, (state: State, folder: string) => void> = {
    'is on a full disk': ({ db }) => {
      db.exec('CREATE TABLE filler (bytes BLOB)');
      const pages = db.pragma('page_count', { simple: true });
      db.pragma(`max_page_count = ${pages}`);
      const fill = db.prepare('INSERT INTO filler VALUES (zeroblob(500))');
      expect(() => {
        for (;;) fill.run();
      }).toThrow(/No space/);
    },
    'cannot be written': ({ db }) => db.pragma('query_only = ON'),
    'is locked by another program': (_, folder) => {
      const other = new Sqlite(join(folder, 'state.db'));
      onTestFinished(() => void other.close());
      other.exec('BEGIN IMMEDIATE');
    },
    'has lost its tables': ({ db }) => db.exec('DROP TABLE remotes; DROP TABLE listings; DROP TABLE seen'),
    'is closed': ({ db }) => db.close(),
  };

  test.each(Object.entries(faults))('%s.', async (_, breakIt) => {
    const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
    onTestFinished(() => warning.mockRestore());
    const { folder, state, metadata } = open();
    const { backend, signals, answer } = service();
    breakIt(state, folder);
    const looked = metadata.images.resolve(backend, name);
    await answer(0, image('r1'));
    expect(await looked).toMatchObject({ revision: 'r1' });
    expect((await metadata.listings.list(backend, 'demo')).entries).toEqual(entries);
    metadata.listings.expire(backend, 'demo');
    // What is in memory counts.
    expect(await metadata.images.resolve(backend, name)).toMatchObject({ revision: 'r1' });
    expect(signals).toHaveLength(1);
    metadata.forget(backend);
    expect(warning.mock.calls.length).toBeLessThanOrEqual(1);
  });

  test('holds something else than what was put there.', async () => {
    const { state } = open();
    const { backend, answer } = service();
    state.remotes.put(`${backend.name} ${backend.target}`, 'demo/x:1', { image: image('r0'), fetchedAt: 1 });
    state.db.exec(`UPDATE remotes SET image = '{"cut'`);
    const metadata = new MetadataCache({ state, ttl: 60_000, offline: false });
    const looked = metadata.images.resolve(backend, name);
    await answer(0, image('r1'));
    expect(await looked).toMatchObject({ revision: 'r1' });
  });
});
