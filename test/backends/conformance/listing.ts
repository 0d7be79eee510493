/** What is in a collection: all of it, once, under names that resolve. */
import { expect, test } from 'vitest';
import { isError } from '../../../src/base/errors.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, namesOf } from './bench.ts';

/** Legal everywhere. */
const PLAIN_NAMES = ['hello:1.0', 'a.b_c-d:1.0_RC-2', 'x1:latest'];
const FEW = 13;

export function listing(at: () => Bench, lacks: Lacks): void {
  test('every legal name resolves, reads and is listed as it was stored', async () => {
    const collection = at().collection();
    const names = [...PLAIN_NAMES, ...(at().subject.names ?? [])].map((text) => at().name(text, collection));
    for (const name of names) {
      expect(at().backend.isCollectionName?.(name.collection)).not.toBe(false);
      await at().store(name, content(1000));
    }
    for (const name of names) {
      const image = await at().resolve(name);
      expect(image.name).toMatchObject({ ...name });
      expect(await at().read(image)).toHaveLength(1000);
      if (lacks.list !== undefined) continue;
      const listed = `${name.image}:${name.tag}`;
      expect(namesOf(await at().list(name.collection))).toContain(
        lacks.case === undefined ? listed : listed.toLowerCase(),
      );
    }
  });

  if (lacks.list !== undefined) {
    test(`nothing: ${lacks.list}`, async () => {
      await expect(at().list(at().collection())).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    });
    return;
  }

  test('the images of a collection and of no other', async () => {
    const [collection, other] = [at().collection(), at().collection()];
    for (const tag of ['1', '2']) await at().store(at().name(`hello:${tag}`, collection), content(100));
    await at().store(at().name('elsewhere:1', other), content(100));
    expect(namesOf(await at().list(collection))).toEqual(['hello:1', 'hello:2']);
  });

  test('every image as it resolves', async () => {
    const { image } = await at().image();
    for (const entry of await at().list(image.name.collection)) {
      if (entry.kind !== 'image') continue;
      const resolved = await at().resolve(entry.name);
      expect(resolved.name).toEqual(entry.name);
      if (entry.remote !== undefined) expect(resolved.revision).toBe(entry.remote.revision);
      if (entry.remote !== undefined) expect(resolved.size).toBe(entry.remote.size);
      if (entry.extension !== undefined) expect(resolved.extension).toBe(entry.extension);
    }
  });

  test('nothing, or NOT_FOUND, where there is no such collection', async () => {
    const listed = at().list(at().collection());
    expect(await listed.catch((error) => (isError(error, 'NOT_FOUND') ? [] : Promise.reject(error)))).toEqual(
      [],
    );
  });

  if (lacks.depth === undefined) {
    test('collections in collections, one level at a time', async () => {
      const collection = at().collection();
      await at().store(at().name('a/b/c/d/e/deep:1', collection), content(100));
      await at().store(at().name('a/middle:1', collection), content(100));
      expect(namesOf(await at().list(collection))).toEqual(['a/']);
      expect(namesOf(await at().list(`${collection}/a`))).toEqual(['b/', 'middle:1']);
      expect(namesOf(await at().list(`${collection}/a/b/c/d`))).toEqual(['e/']);
      expect(namesOf(await at().list(`${collection}/a/b/c/d/e`))).toEqual(['deep:1']);
    });

    test('a collection beside an image of the same name', async () => {
      const collection = at().collection();
      await at().store(at().name('tool:1', collection), content(100));
      await at().store(at().name('tool/inner:1', collection), content(100));
      expect(namesOf(await at().list(collection))).toEqual(['tool/', 'tool:1']);
    });

    test('the collections from the top down', async () => {
      const { image } = await at().image();
      const parts = image.name.collection.split('/');
      for (const [depth, part] of parts.entries())
        expect(namesOf(await at().list(parts.slice(0, depth).join('/')))).toContain(`${part}/`);
    });
  } else {
    test(`no collections in collections: ${lacks.depth}`, async () => {
      const { image } = await at().image();
      expect(namesOf(await at().list(image.name.collection)).filter((name) => name.endsWith('/'))).toEqual(
        [],
      );
    });
  }

  if (lacks.pages === undefined) {
    test('more than three pages to the end', async () => {
      const count = 3 * (at().subject.pages?.size ?? 1000) + 1;
      const collection = await filled(at(), count);
      const before = at().requests;
      expect(new Set(namesOf(await at().list(collection))).size).toBe(count);
      expect(at().requests - before).toBeGreaterThan(3);
    });
  } else {
    test(`many images in one page: ${lacks.pages}`, async () => {
      const [one, many] = [await filled(at(), 1), await filled(at(), FEW)];
      const start = at().requests;
      await at().list(one);
      const middle = at().requests;
      expect(await at().list(many)).toHaveLength(FEW);
      expect(at().requests - middle).toBe(middle - start);
    });
  }
}

/** A collection with so many images, each of a name of its own. */
async function filled(bench: Bench, count: number): Promise<string> {
  const collection = bench.collection();
  const bytes = content(10);
  for (let number = 0; number < count; number++) {
    await bench.store(bench.name(`image${String(number).padStart(5, '0')}:1`, collection), bytes);
  }
  return collection;
}
