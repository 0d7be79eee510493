/** The small parts of the kit: names, pages, retries. */
import { describe, expect, test } from 'vitest';
import { createLayout } from '../../../src/backends/kit/layout.ts';
import { followPages } from '../../../src/backends/kit/pages.ts';
import { withRetries } from '../../../src/backends/kit/retries.ts';
import { SregistryError } from '../../../src/base/errors.ts';

describe('a layout', () => {
  const layout = createLayout({ longest: 40 });
  const name = { collection: 'a/b', image: 'c', tag: 'latest', version: undefined };

  test("has the Python client's key first, and keys without a tag last", () => {
    const keys = ['a/b/c:latest.sif', 'a/b/c:latest.simg', 'a/b/c:latest.img'];
    expect(layout.keysOf(name)).toEqual([...keys, 'a/b/c.sif', 'a/b/c.simg', 'a/b/c.img']);
    expect(layout.keysOf({ ...name, tag: '1' })).toHaveLength(3);
    expect(layout.keysOf(name).map((key) => layout.parseKey(key)?.rank)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(layout.parseKey('a/b/c.sif')?.name).toEqual(name);
  });

  test.each([
    '../c:1.sif',
    '/c:1.sif',
    'a//c:1.sif',
    '.a/c:1.sif',
    'a/.c:1.sif',
    'a/c:1.sif.json',
    'a/c\u0001.sif',
    'a/\ufffd.sif',
    'a/\ud800.sif',
    `${'x'.repeat(40)}.sif`,
  ])('takes %j for no image', (key) => {
    expect(layout.parseKey(key)).toBeUndefined();
  });

  test('has no key for a name that cannot be one, and no prefix for such a collection', () => {
    expect(layout.keysOf({ ...name, collection: 'a/../b' })).toEqual([]);
    expect(layout.keysOf({ ...name, image: 'x'.repeat(40) })).toEqual([]);
    const { prefixOf } = createLayout();
    expect([prefixOf(''), prefixOf('a/b'), prefixOf('a/.b'), prefixOf('a//b')]).toEqual([
      '',
      'a/b/',
      undefined,
      undefined,
    ]);
  });
});

describe('pages', () => {
  const follow = (next: (at: number) => number | undefined) =>
    Array.fromAsync(
      followPages<number, number>('a listing', async (at = 0) => ({ page: at, next: next(at) })),
    );

  test('are followed to the end', async () => {
    expect(await follow((at) => (at < 3 ? at + 1 : undefined))).toEqual([0, 1, 2, 3]);
  });

  test('that go in circles, or never end, are an error', async () => {
    const circles = {
      code: 'SERVICE',
      message: expect.stringContaining('a listing: its pages repeat'),
    };
    await expect(follow((at) => (at + 1) % 3)).rejects.toMatchObject(circles);
    await expect(follow(() => 7)).rejects.toMatchObject(circles);
    await expect(follow((at) => at + 1)).rejects.toMatchObject({ code: 'SERVICE' });
  });
});

describe('retries', () => {
  const budget = { what: 'work', attempts: () => 3, firstDelay: 1 };
  const failing = (failures: number) => async (attempt: number) => {
    if (attempt <= failures) throw new SregistryError('UNREACHABLE', `attempt ${attempt}`);
    return attempt;
  };

  test('go on until one succeeds, or the failure is worth no more', async () => {
    expect(await withRetries(failing(2), budget)).toBe(3);
    await expect(withRetries(failing(3), budget)).rejects.toMatchObject({ message: 'attempt 3' });
    await expect(withRetries(failing(1), { ...budget, attempts: () => 1 })).rejects.toMatchObject({
      message: 'attempt 1',
    });
  });

  test('end when they are canceled, also while they wait', async () => {
    const controller = new AbortController();
    const options = {
      ...budget,
      firstDelay: 60_000,
      signal: controller.signal,
      onFailure: () => controller.abort(),
    };
    await expect(withRetries(failing(1), options)).rejects.toMatchObject({ code: 'CANCELED' });
  });
});
