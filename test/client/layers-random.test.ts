/**
 * Random operations on containers in layers: two sessions on one small cache open, read and close them, while layers are evicted,
 * damaged on disk, tags move, and the registry cuts, spoils and refuses. Every byte that is read is compared. The same seed plans
 * the same operations; which of them meet is the machine's.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isError } from '../../src/base/errors.ts';
import { prune } from '../../src/client/cache.ts';
import type { OpenLayered } from '../../src/client/layered-images.ts';
import type { Session } from '../../src/client/session.ts';
import { type Random, random } from '../fuzz/run.ts';
import { needs } from '../helpers/skip.ts';
import type { Fault } from '../servers/fault-proxy.ts';
import { type Layer, layerOf, tarOf } from '../servers/layered.ts';
import { chunkedOf, stargzOf } from '../servers/toc-layers.ts';
import { LayeredLab } from './layered-lab.ts';

const SEED = Number(process.env.SREGISTRY_TEST_SEED ?? 20_261_128);
const OPERATIONS = Number(process.env.SREGISTRY_TEST_OPERATIONS ?? 120);
/** What an open may end with while the registry is spoiled or the cache is full of what is open. */
const ALLOWED = ['UNREACHABLE', 'SERVICE', 'CORRUPT', 'STALE', 'NO_SPACE', 'TIMED_OUT', 'CANCELED'] as const;
const MIB = 1024 * 1024;

/** Bytes from a seed, which gzip cannot shrink. */
function noise(pick: Random, size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, () => pick(256)));
}

/** How the layers are stored: two of the forms are read in parts. */
const FORMS: readonly ((tar: Buffer) => Layer)[] = [
  (tar) => layerOf(tar, 'gzip'),
  (tar) => stargzOf(tar, { chunkSize: 100_000 }),
  (tar) => layerOf(tar, 'none'),
  (tar) => layerOf(tar, 'gzip'),
  (tar) => chunkedOf(tar, { chunkSize: 100_000 }),
  (tar) => layerOf(tar, 'zstd'),
];

const cut: Fault = (_request, _response, forward) =>
  forward({
    download: async function* (body, response) {
      for await (const chunk of body) {
        yield chunk.subarray(0, chunk.length / 2);
        response.destroy();
      }
    },
  });
const spoil: Fault = (_request, _response, forward) =>
  forward({
    download: async function* (body) {
      for await (const chunk of body)
        yield chunk.map((byte, i) => (i % 1000 === 7 ? byte ^ 0x55 : byte)) as Buffer;
    },
  });
const refuse: Fault = (_request, response) => void response.writeHead(503).end();
const isBlob = ({ url }: { url?: string | undefined }) => url?.includes('/blobs/') ?? false;

interface Held {
  readonly image: OpenLayered;
  /** The bytes of the revision that it was opened at. */
  readonly bytes: Buffer;
}

needs({ registry: true })('two sessions on one small cache', () => {
  test(`read right bytes or none in ${OPERATIONS} random operations (seed ${SEED})`, async () => {
    const pick = random(SEED);
    const lab = await LayeredLab.start();
    const layers: Layer[] = FORMS.map((make, i) =>
      make(
        tarOf([
          { path: `dir${i % 2}/file${i}`, data: noise(pick, 200_000 + pick(MIB)) },
          { path: i === 3 ? 'dir0/.wh.file0' : `own${i}`, data: i === 3 ? '' : `layer ${i}` },
        ]),
      ),
    );
    /** Every revision that was pushed, by its digest, and what each tag stands for. */
    const revisions = new Map<string, Buffer>();
    const tags = ['a', 'b', 'c'];
    const reference = await lab.session({
      env: { SREGISTRY_CACHEDIR: join(lab.home, 'reference') },
      ttl: '0',
    });
    const push = async (tag: string) => {
      const chosen = layers.filter(() => pick(3) > 0);
      await lab.push(tag, chosen.length > 0 ? chosen : layers.slice(0, 1));
      await using image = await lab.open(reference, `direct://demo/app:${tag}`);
      revisions.set(image.image.revision, Buffer.from(await image.read(0, image.size)));
    };
    for (const tag of tags) await push(tag);

    const start = () => lab.session({ cacheSize: '7MiB', cacheMinFree: '0', ttl: '0' });
    const sessions: [Session, Session] = [await start(), await start()];
    const held: (Held & { readonly session: Session })[] = [];
    const counts = { opened: 0, failed: 0, read: 0 };
    const open = async (session: Session) => {
      try {
        const image = await lab.open(session, `lab://demo/app:${tags[pick(tags.length)]}`);
        const bytes = revisions.get(image.image.revision) as Buffer;
        expect(image.size).toBe(bytes.length);
        held.push({ image, bytes, session });
        counts.opened += 1;
      } catch (error) {
        if (!isError(error, ...ALLOWED)) throw error;
        counts.failed += 1;
      }
    };
    const read = async ({ image, bytes }: Held) => {
      const [at, length] = [pick(bytes.length), 1 + pick(300_000)];
      try {
        const found = Buffer.from(await image.read(at, length));
        expect(found.equals(bytes.subarray(at, at + length)), `bytes from ${at}`).toBe(true);
        counts.read += 1;
      } catch (error) {
        if (!isError(error, ...ALLOWED)) throw error;
      }
    };
    const close = async (index: number) => {
      const [closed] = held.splice(index, 1);
      await closed?.image[Symbol.asyncDispose]();
    };
    const damage = ({ cache }: Session) => {
      const { key } = cache.list()[0] ?? {};
      if (key === undefined) return;
      const path = join(cache.root, 'images', key.slice(0, 2), key, 'data');
      const data = readFileSync(path);
      if (data.length > 0) writeFileSync(path, data.fill('x', pick(data.length)), { flag: 'r+' });
    };

    for (let i = 0; i < OPERATIONS; i++) {
      const session = sessions[pick(2)] as Session;
      switch (pick(12)) {
        case 0:
        case 1:
          await open(session);
          break;
        case 2:
          await Promise.all([open(sessions[0]), open(sessions[1]), open(session)]);
          break;
        case 3:
          prune(session);
          break;
        case 4:
          await push(tags[pick(tags.length)] as string);
          break;
        case 5:
          lab.proxy.inject([cut, spoil, refuse][pick(3)] as Fault, { match: isBlob, times: 1 + pick(3) });
          break;
        case 6:
          lab.proxy.clear();
          break;
        case 7:
          // Blocks are compared at their first read after an open.
          while (held.length > 0) await close(0);
          damage(session);
          break;
        case 8:
          if (pick(4) > 0) break;
          for (const one of held.filter((each) => each.session === session)) await close(held.indexOf(one));
          await session.close();
          sessions[sessions.indexOf(session)] = await start();
          break;
        default:
          for (let left = 5; left > 0 && held.length > 0; left--) await read(held[pick(held.length)] as Held);
      }
      while (held.length > 3) await close(pick(held.length));
    }

    lab.proxy.clear();
    while (held.length > 0) await close(0);
    expect(counts.opened).toBeGreaterThan(5);
    expect(counts.read).toBeGreaterThan(20);
    // Whatever happened, each image is there in the end, and nothing of the failed is left.
    for (const session of sessions) {
      await expect.poll(() => session.layers.transfers).toEqual([]);
      for (const tag of tags) {
        await using image = await lab.open(session, `lab://demo/app:${tag}`);
        const wanted = revisions.get(image.image.revision) as Buffer;
        expect(Buffer.from(await image.read(0, image.size)).equals(wanted)).toBe(true);
      }
      expect(session.cache.bytes).toBeLessThanOrEqual(7 * MIB);
    }
  });
});
