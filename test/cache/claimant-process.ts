/**
 * A process that fetches an image of an HTTP server through a cache and says on stdout `claimed` when its request was
 * made, then `done` or why not. Started by processes.test.ts:
 *
 *     node claimant-process.ts ROOT URL IMAGE
 *
 * IMAGE is the image as JSON.
 */
import { get } from 'node:http';
import type { Readable } from 'node:stream';
import { ImageCache } from '../../src/cache/cache.ts';
import { openState } from '../../src/catalog/state.ts';

const [root = '', url = '', image = ''] = process.argv.slice(2);
const state = openState(root);
const cache = new ImageCache({
  root,
  index: state.cacheIndex,
  traces: state.traces,
  limit: 1024 ** 3,
  minFree: 0,
});
await cache.start();
const open = cache.open('http://registry.test', JSON.parse(image), (offset, length, signal) => {
  return new Promise<Readable>((resolve, reject) => {
    const headers = { range: `bytes=${offset}-${offset + length - 1}` };
    get(`${url}slow`, { headers, signal }, resolve).on('error', reject);
    process.stdout.write('claimed\n');
  });
});
await open.read(Buffer.alloc(10), 0, 10, open.readAhead()).then(
  () => process.stdout.write('done\n'),
  (error: Error) => process.stdout.write(`${error.message}\n`),
);
await cache.close(open);
await cache.stop();
state.close();
