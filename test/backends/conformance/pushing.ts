/** Pushes: what is there afterwards, with its metadata. */
import { expect, test } from 'vitest';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, sha256 } from './bench.ts';

/** What labels of images are like. */
const ANNOTATIONS = {
  MAINTAINER: 'vanessasaur',
  'org.label-schema.build-date': '2017-10-15T12:52:56+00:00',
  name: 'Zoë 漢字 🤖',
  'org.example.script': '#!/bin/sh\n\nexec "$@"\t# quoted\n',
};

export function pushing(at: () => Bench, lacks: Lacks): void {
  if (lacks.push !== undefined) {
    test(`nothing: ${lacks.push}`, () => {
      expect(at().backend.push).toBeUndefined();
    });
    return;
  }

  test.each([512, 100_000])('an image of %d bytes, which then resolves and reads', async (size) => {
    const name = at().name();
    const bytes = content(size);
    const pushed = await at().push(name, bytes);
    expect(pushed).toMatchObject({ size, name });
    expect((await at().resolve(name)).revision).toBe(pushed.revision);
    expect(await at().read(pushed)).toEqual(bytes);
  });

  test('over an image that is there, which is replaced', async () => {
    const name = at().name();
    const before = await at().push(name, content());
    const bytes = content(50_000);
    const pushed = await at().push(name, bytes);
    expect(pushed.revision).not.toBe(before.revision);
    expect(await at().read(await at().resolve(name))).toEqual(bytes);
  });

  test('the same image twice', async () => {
    const name = at().name();
    const bytes = content();
    await at().push(name, bytes);
    expect(await at().read(await at().push(name, bytes))).toEqual(bytes);
  });

  test('an image whose digest is known, which it does not doubt where it is right', async () => {
    const name = at().name();
    const bytes = content();
    const file = { ...(await at().file(bytes)), digest: sha256(bytes) };
    const pushed = await at().backend.push?.(file, name);
    expect([undefined, file.digest]).toContain(pushed?.digest);
  });

  test('two images at once under two names', async () => {
    const collection = at().collection();
    const [one, other] = [content(), content()];
    await Promise.all([
      at().push(at().name('one:1', collection), one),
      at().push(at().name('other:1', collection), other),
    ]);
    expect(await at().read(await at().resolve(at().name('one:1', collection)))).toEqual(one);
    expect(await at().read(await at().resolve(at().name('other:1', collection)))).toEqual(other);
  });

  test('nothing once it is canceled', async () => {
    const name = at().name();
    const pushing = at().push(name, content(), { signal: AbortSignal.abort() });
    await expect(pushing).rejects.toMatchObject({ code: 'CANCELED' });
    expect(await at().backend.resolve(name)).toBeUndefined();
  });

  if (lacks.annotations === undefined) {
    test('metadata, which comes back as it was', async () => {
      const name = at().name();
      await at().push(name, content(), { annotations: ANNOTATIONS });
      expect((await at().resolve(name)).annotations).toMatchObject(ANNOTATIONS);
    });

    test('an image without metadata over one that has some, which then has none of it', async () => {
      const name = at().name();
      await at().push(name, content(), { annotations: ANNOTATIONS });
      await at().push(name, content());
      expect((await at().resolve(name)).annotations ?? {}).not.toHaveProperty('MAINTAINER');
    });
  } else {
    test(`no metadata: ${lacks.annotations}`, async () => {
      const name = at().name();
      await at().push(name, content(), { annotations: ANNOTATIONS });
      expect((await at().resolve(name)).annotations ?? {}).not.toHaveProperty('MAINTAINER');
    });
  }
}
