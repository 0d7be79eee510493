/** Random operations on a store that fails in their midst, compared with a model after each of them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, RemoteImage } from '../../../src/backends/backend.ts';
import { createHttpClient } from '../../../src/backends/http.ts';
import { createLayout } from '../../../src/backends/kit/layout.ts';
import { storeBackend } from '../../../src/backends/kit/store-backend.ts';
import { SregistryError } from '../../../src/base/errors.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';
import { LIMITS, type MemoryOptions, type MemoryStore, memoryStore, sha256 } from './memory-store.ts';

const TAGS = ['a', 'b', 'c'] as const;
type Tag = (typeof TAGS)[number];
const nameOf = (tag: Tag) => ({ collection: 'lab', image: 'tool', tag });

/** What a name stands for. */
interface Image {
  readonly bytes: string;
  readonly annotations: Readonly<Record<string, string>>;
}

const tag = fc.constantFrom(...TAGS);
const content = fc.record({
  bytes: fc.constantFrom('one', 'two', 'three'),
  annotations: fc.constantFrom<Image['annotations']>(
    {},
    { label: 'short' },
    { label: 'x'.repeat(600) },
    { label: 'short', script: 'line\n'.repeat(200) },
    { 'not a header': 'y', __proto: 'z' },
  ),
});
/** Which of the writes of an operation fails, if any. */
const fault = fc.option(fc.nat(2), { nil: undefined });
const operation = fc.oneof(
  fc.record({ op: fc.constant('push' as const), to: tag, content, fault, ifAbsent: fc.boolean() }),
  fc.record({ op: fc.constant('copy' as const), from: tag, to: tag, fault, listed: fc.boolean() }),
  fc.record({ op: fc.constant('remove' as const), from: tag, listed: fc.boolean() }),
  fc.record({ op: fc.constant('remove old' as const), from: tag, content }),
);

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** A store whose write number `failAt` from now on fails, before it does anything. */
function failing(store: MemoryStore) {
  const state: { failAt: number | undefined } = { failAt: undefined };
  const mayFail = <A extends unknown[], R>(method: (...given: A) => Promise<R>) => {
    return async (...given: A): Promise<R> => {
      if (state.failAt === 0) {
        state.failAt = undefined;
        throw new SregistryError('UNREACHABLE', 'no connection');
      }
      if (state.failAt !== undefined) state.failAt -= 1;
      return method(...given);
    };
  };
  const put = mayFail(store.put);
  const putSmall = mayFail(store.putSmall);
  const copy = mayFail(store.copy as NonNullable<MemoryStore['copy']>);
  return { state, store: { ...store, put, putSmall, copy } };
}

describe.each([
  ['whose files carry metadata', { metadata: LIMITS }],
  ['whose files carry one value of metadata', { metadata: { ...LIMITS, shape: 'json' as const } }],
  ['whose files carry none', {}],
] as [string, MemoryOptions][])('a store %s', (_what, options) => {
  test('has the images, with their annotations, that the operations on it left', async () => {
    const path = join(temporaryFolder(), 'image.sif');
    const http = createHttpClient();
    const run = async (operations: Operation[]) => {
      const memory = memoryStore(options);
      const { store, state } = failing(memory);
      const identity = { name: 'memory', driver: 'memory', defaultCollection: '', http: () => http };
      const backend = storeBackend(store, createLayout(), identity) as Required<Backend>;
      const model = new Map<Tag, Image>();

      const push = (to: Tag, { bytes, annotations }: Image, ifAbsent = false) => {
        writeFileSync(path, bytes);
        return backend.push({ path, size: bytes.length, digest: sha256(Buffer.from(bytes)) }, nameOf(to), {
          annotations,
          ifAbsent,
        });
      };
      const find = async (wanted: Tag, listed: boolean): Promise<RemoteImage | undefined> => {
        const entries = listed ? await Array.fromAsync(backend.list('lab')).catch(() => []) : [];
        const entry = entries.find((one) => one.kind === 'image' && one.name.tag === wanted);
        return entry?.kind === 'image' ? entry.remote : backend.resolve(nameOf(wanted));
      };
      /** Notes what an operation did. One that failed after its file was put, with a sidecar to follow, leaves some annotations. */
      const settle = async (to: Tag, made: Image, work: () => Promise<unknown>) => {
        const before = memory.files.get(`lab/tool:${to}.sif`)?.revision;
        try {
          await work();
          model.set(to, made);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/UNREACHABLE|EXISTS/) });
          const now = await backend.resolve(nameOf(to));
          if (now === undefined || now.revision === before) return;
          const { annotations = {} } = now;
          expect(made.annotations).toMatchObject(annotations);
          model.set(to, { ...made, annotations });
        }
      };

      for (const each of operations) {
        state.failAt = 'fault' in each ? each.fault : undefined;
        if (each.op === 'push') {
          await settle(each.to, each.content, () => push(each.to, each.content, each.ifAbsent));
        } else {
          const image = await find(each.from, 'listed' in each && each.listed);
          const known = model.get(each.from);
          if (image === undefined || known === undefined) continue;
          if (each.op === 'copy') {
            await settle(each.to, known, () => backend.copy(image, nameOf(each.to)));
          } else if (each.op === 'remove') {
            await backend.remove(image);
            model.delete(each.from);
          } else {
            await push(each.from, each.content);
            model.set(each.from, each.content);
            await expect(backend.remove(image)).rejects.toMatchObject({ code: 'STALE' });
          }
        }
        state.failAt = undefined;
        for (const name of TAGS) {
          const image = await backend.resolve(nameOf(name));
          const known = model.get(name);
          if (known === undefined) expect(image).toBeUndefined();
          else {
            expect(image?.annotations).toEqual(known.annotations);
            expect(image?.size).toBe(known.bytes.length);
            if (image?.digest !== undefined) expect(image.digest).toBe(sha256(Buffer.from(known.bytes)));
          }
        }
        const found = await Array.fromAsync(backend.search({ query: '' }));
        expect(found.map((image) => image.name.tag).sort()).toEqual([...model.keys()].sort());
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(operation, { maxLength: 10 }), run), { numRuns: 60 });
  }, 60_000);
});
