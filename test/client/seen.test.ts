/** What is found of images beyond their names: over a directory, the library, and a real registry. */
import { statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inspect } from '../../src/client/inspect.ts';
import { labelsOf } from '../../src/client/inspect-remote.ts';
import { listLabels } from '../../src/client/labels.ts';
import { push } from '../../src/client/push.ts';
import { remove } from '../../src/client/remove.ts';
import { type FoundImage, type SearchRequest, search, summarize } from '../../src/client/search.ts';
import type { Session } from '../../src/client/session.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { fixture, TemporaryHome } from './temporary.ts';

const SMALL = fixture('small-zstd.sif');
/** Of its definition file, and of no name. */
const WORD = 'labtool';
const LABEL = { Version: '1.2.3' };

let home: TemporaryHome;
beforeEach(() => {
  home = new TemporaryHome();
});
afterEach(() => home[Symbol.dispose]());

/** URIs of what is found; those that were only seen with `seen` behind. */
async function find(session: Session, query: string, options: Partial<SearchRequest> = {}) {
  const uris: string[] = [];
  await search(session, {
    query,
    ...options,
    found: (image, backend, seen) =>
      uris.push(`${session.uri(backend.name, image.name)}${seen === undefined ? '' : ' seen'}`),
  });
  return uris.sort();
}

describe.each(['shelf', 'local'])('what is in %s', (backend) => {
  const uri = `${backend}://demo/small:1`;

  beforeEach(async () => {
    home.configure({ shelf: home.shelf('shelf') });
    await using session = await home.open();
    await push(session, SMALL, uri);
  });

  test('has its labels with it, and is found by them and by the words in it.', async () => {
    await using session = await home.open();
    const image = await findImage(session, await parseTarget(uri, session));
    expect(image.annotations).toMatchObject(LABEL);
    expect(await find(session, '', { labels: LABEL })).toEqual([uri]);
    expect(await find(session, WORD)).toEqual([uri]);
    expect(await find(session, WORD, { labels: { Version: '2' } })).toEqual([]);
    expect(await find(session, WORD, { offline: true })).toEqual([uri]);
    expect(await listLabels(session, { key: 'Version' })).toEqual([
      { key: 'Version', value: '1.2.3', images: [uri] },
    ]);
  });

  test('is no longer found once it is removed.', async () => {
    await using session = await home.open();
    expect(await find(session, WORD)).toEqual([uri]);
    const target = await parseTarget(uri, session);
    await remove(session, target, await findImage(session, target));
    expect(await find(session, WORD)).toEqual([]);
    expect(await listLabels(session)).toEqual([]);
  });
});

needs({ registry: true })('what is in a registry', () => {
  let registry: TestRegistry;

  const blobsRead = () => registry.log().filter(({ path }) => path.includes('/blobs/sha256')).length;

  beforeEach(async () => {
    registry = await startRegistry();
    home.configure({ lab: { driver: 'oci', base: registry.url } });
  });
  afterEach(() => registry.remove());

  /** As `oras push` does: with nothing said of what is in it. */
  async function pushBare(session: Session): Promise<void> {
    const { backend, name } = await parseTarget('lab://demo/bare:1', session);
    await backend.push?.({ path: SMALL, size: statSync(SMALL).size }, name);
  }

  test('has its labels with it: none of its bytes is asked for to tell them, or to find it by them.', async () => {
    await using pusher = await home.open();
    await push(pusher, SMALL, 'lab://demo/small:1');
    await using session = await home.open();
    const before = blobsRead();
    const { backend, name } = await parseTarget('lab://demo/small:1', session);
    const image = await findImage(session, { backend, name });
    expect(await labelsOf(session, backend, image)).toMatchObject(LABEL);
    expect(await find(session, '', { labels: LABEL })).toEqual(['lab://demo/small:1']);
    expect(blobsRead()).toBe(before);
    expect(session.cache.fetchedBytes).toBe(0);
  });

  test('is found by words that the registry does not look at, once, and marked as seen.', async () => {
    await using session = await home.open();
    await push(session, SMALL, 'lab://demo/small:1');
    expect(await find(session, WORD)).toEqual(['lab://demo/small:1 seen']);
    expect(await find(session, 'small')).toEqual(['lab://demo/small:1']);
    expect(await find(session, 'demo/*')).toEqual(['lab://demo/small:1']);
  });

  test('is found without the registry: from what was seen, offline or while it is away.', async () => {
    await using session = await home.open();
    await push(session, SMALL, 'lab://demo/small:1');
    const asked = registry.log().length;
    expect(await find(session, 'small', { offline: true })).toEqual(['lab://demo/small:1 seen']);
    expect(registry.log()).toHaveLength(asked);
    await registry.stop();
    await using other = await home.open();
    expect(await find(other, WORD)).toEqual(['lab://demo/small:1 seen']);
  });

  test('is found by what was read in it, where nothing was stored beside it.', async () => {
    await using session = await home.open();
    await pushBare(session);
    expect(await find(session, WORD)).toEqual([]);
    await inspect(session, 'lab://demo/bare:1');
    expect(await find(session, WORD)).toEqual(['lab://demo/bare:1 seen']);
    const told: FoundImage[] = [];
    await search(session, { query: '', found: (...what) => told.push(summarize(session, ...what)) });
    expect(told).toMatchObject([{ uri: 'lab://demo/bare:1', labels: LABEL }]);
    expect(await find(session, '', { labels: LABEL })).toEqual(['lab://demo/bare:1 seen']);
    expect(await listLabels(session, { key: 'Version' })).toEqual([
      { key: 'Version', value: '1.2.3', images: ['lab://demo/bare:1'] },
    ]);
  });

  test('is not found once the registry no longer has it, though it was seen.', async () => {
    await using session = await home.open();
    await push(session, SMALL, 'lab://demo/small:1');
    const target = await parseTarget('lab://demo/small:1', session);
    await target.backend.remove?.(await findImage(session, target));
    expect(await find(session, 'small')).toEqual([]);
    expect(await find(session, '', { labels: LABEL })).toEqual([]);
  });
});
