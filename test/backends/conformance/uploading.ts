/** How the bytes of a push get to the service: whole, verified, and once begun not begun again. */
import { expect, test, vi } from 'vitest';
import type { PushState } from '../../../src/backends/backend.ts';
import { damageUpload } from '../../servers/fault-proxy.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, expectSame } from './bench.ts';

const LARGE = 20 * 1024 * 1024;

export function uploading(at: () => Bench, lacks: Lacks, http: boolean): void {
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
