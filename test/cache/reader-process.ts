/**
 * A process that opens one of several images of an HTTP server through a cache, reads a little and closes, again and
 * again; what it read is compared with the image's file. Prints how many reads were wrong. Started by
 * processes.test.ts:
 *
 *     node reader-process.ts ROOT URL OPENS SEED FILE...
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import type { Readable } from 'node:stream';
import { ImageCache } from '../../src/cache/cache.ts';
import { openState } from '../../src/catalog/state.ts';

const [root = '', url = '', opens = '', seed = '', ...files] = process.argv.slice(2);

const images = files.map((file, index) => {
  const bytes = readFileSync(file);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const remote = {
    name: { collection: 'demo', image: `image${index}`, tag: 'latest' },
    size: bytes.length,
    digest,
    revision: digest,
    handle: {},
  };
  const source = (offset: number, length: number, signal: AbortSignal) =>
    new Promise<Readable>((resolve, reject) => {
      const headers = { range: `bytes=${offset}-${offset + length - 1}` };
      get(`${url}${index}`, { headers, signal }, resolve).on('error', reject);
    });
  return { bytes, remote, source };
});

let state = Number(seed);
/** A number below `bound`, the same sequence for the same seed. */
function random(bound: number): number {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  // The low bits of such a sequence hardly change.
  return (state >>> 8) % bound;
}

const { cacheIndex, traces, close } = openState(root);
const cache = new ImageCache({ root, index: cacheIndex, traces, limit: 1024 ** 3, minFree: 0 });
await cache.start();
let wrong = 0;

async function readALittle(): Promise<void> {
  const { bytes, remote, source } = images[random(images.length)] as (typeof images)[number];
  const open = cache.open('http://registry.test', remote, source);
  const ahead = open.readAhead();
  const start = random(bytes.length);
  const reads = Array.from({ length: 1 + random(4) }, async (_, index) => {
    const target = Buffer.alloc(20_000);
    const offset = start + index * target.length;
    const read = await open.read(target, offset, target.length, ahead);
    if (!target.subarray(0, read).equals(bytes.subarray(offset, offset + read))) wrong += 1;
  });
  // Closed while the rest is still on its way, as by a program that has seen enough.
  await reads[0];
  const closed = cache.close(open);
  await Promise.allSettled(reads);
  await closed;
}

async function readOften(): Promise<void> {
  for (let count = 0; count < Number(opens); count += 1) await readALittle();
}

await Promise.all([readOften(), readOften(), readOften()]);
await cache.stop();
close();
process.stdout.write(String(wrong));
