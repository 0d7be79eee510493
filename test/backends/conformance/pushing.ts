/** Pushes: whole, verified, with their metadata, and once begun not begun again. */
import { expect, test, vi } from 'vitest';
import type { PushState } from '../../../src/backends/backend.ts';
import { damageUpload } from '../../servers/fault-proxy.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, expectSame, sha256 } from './bench.ts';

const LARGE = 20 * 1024 * 1024;

/** What labels of images are like. */
const ANNOTATIONS = {
  MAINTAINER: 'vanessasaur',
  'org.label-schema.build-date': '2017-10-15T12:52:56+00:00',
  name: 'Zoë 漢字 🤖',
  'org.example.script': '#!/bin/sh\n\nexec "$@"\t# quoted\n',
};

export function pushing(at: () => Bench, lacks: Lacks, http: boolean): void {
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

  test('a large image, telling how far it is', async () => {
    const name = at().name();
    const bytes = content(at().subject.large ?? LARGE);
    const seen: number[] = [];
    const pushed = await at().push(name, bytes, {
      progress: (done, total) => {
        expect(total).toBe(bytes.length);
        seen.push(done);
      },
    });
    expect(seen).toEqual([...seen].sort((one, other) => one - other));
    expect(seen.at(-1)).toBe(bytes.length);
    expectSame(await at().read(pushed), bytes);
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

  if (lacks.resume === undefined) {
    test('the rest of an image whose push was interrupted', async () => {
      const name = at().name();
      const bytes = content(at().subject.large ?? LARGE);
      const file = await at().file(bytes);
      const state = savedState();
      await interrupt(at(), file, name, state);

      const sent = received(at());
      const another = await at().connect();
      const pushed = await another.push?.(file, name, { resume: state });
      expect(received(at()) - sent).toBeLessThan(bytes.length);
      expectSame(await at().read(pushed ?? (await at().resolve(name))), bytes);
    });

    test('another image than the one whose push was interrupted, all of it', async () => {
      const name = at().name();
      const file = await at().file(content(at().subject.large ?? LARGE));
      const state = savedState();
      await interrupt(at(), file, name, state);
      const bytes = content(at().subject.large ?? LARGE);
      const pushed = await at().push(name, bytes, { resume: state });
      expectSame(await at().read(pushed), bytes);
    });
  } else {
    test(`all of an image whose push was interrupted: ${lacks.resume}`, async () => {
      const state = savedState();
      await at().push(at().name(), content(), { resume: state });
      expect(state.saves()).toBe(0);
    });
  }

  if (!http) return;

  test('no image whose bytes were damaged on the way', async () => {
    const name = at().name();
    const bytes = content();
    at().proxy.inject(damageUpload, {
      match: ({ headers }) => Number(headers['content-length'] ?? bytes.length) >= bytes.length,
      times: 100,
    });
    await expect(at().push(name, bytes)).rejects.toMatchObject({ name: 'SregistryError' });
  });
}

/** Ends a push as a crash does, after a part of the image has been sent and noted. */
async function interrupt(
  bench: Bench,
  file: Awaited<ReturnType<Bench['file']>>,
  name: ReturnType<Bench['name']>,
  state: SavedState,
): Promise<void> {
  const controller = new AbortController();
  let done = 0;
  state.onSave(() => {
    if (done > 0) controller.abort();
  });
  const progress = (bytes: number) => {
    done = bytes;
  };
  const pushing = bench.backend.push?.(file, name, { progress, resume: state, signal: controller.signal });
  await expect(pushing).rejects.toMatchObject({ code: 'CANCELED' });
  state.onSave(() => {});
  // What was on its way still arrives at the proxy, and counts there.
  if (bench.subject.origin !== undefined)
    await vi.waitFor(() => expect(bench.proxy.active()).toBe(0), { timeout: 30_000 });
}

interface SavedState extends PushState {
  saves(): number;
  onSave(listener: () => void): void;
}

/** Keeps a push's state as the journal does: as JSON. */
function savedState(): SavedState {
  let saved: string | undefined;
  let saves = 0;
  let listener = () => {};
  return {
    load: () => (saved === undefined ? undefined : JSON.parse(saved)),
    save: (state) => {
      saved = JSON.stringify(state);
      saves += 1;
      listener();
    },
    saves: () => saves,
    onSave: (heard) => {
      listener = heard;
    },
  };
}

function received(bench: Bench): number {
  return bench.proxy.requests.reduce((sum, request) => sum + request.received, 0);
}
