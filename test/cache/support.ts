/** A cache in a temporary folder, and images that count what is read of them. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { ImageCache } from '../../src/cache/cache.ts';
import type { CachedImage } from '../../src/cache/image.ts';
import type { RangeSource } from '../../src/cache/receive.ts';
import { openState } from '../../src/catalog/state.ts';
import type { RemoteImage } from '../../src/image/remote.ts';

export const MIB = 1024 * 1024;

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface CacheLimits {
  readonly limit?: number;
  readonly minFree?: number;
}

/** Another process's view of a cache folder is another call with the same folder. */
export async function openCache(root: string, { limit = 1024 * MIB, minFree = 0 }: CacheLimits = {}) {
  const state = openState(root);
  const cache = new ImageCache({ root, index: state.cacheIndex, traces: state.traces, limit, minFree });
  await cache.start();
  const close = async () => {
    await cache.stop();
    state.close();
  };
  return { cache, index: state.cacheIndex, traces: state.traces, close };
}

export interface TestImage {
  readonly bytes: Buffer;
  readonly remote: RemoteImage;
  /** Ranges asked of it. */
  readonly requests: { offset: number; length: number }[];
  readonly source: RangeSource;
  /** How often each byte was served; 1 where every byte was served once. */
  servedTwice(): number;
}

export interface TestImageOptions {
  readonly digest?: string | undefined;
  readonly name?: string;
  /** Its bytes, instead of random ones. */
  readonly bytes?: Buffer;
  /** Called before each chunk with its offset in the image; may delay or throw. */
  readonly beforeChunk?: (offset: number) => Promise<void> | void;
}

/** An image of random bytes, served in chunks of 16 KiB. */
export function testImage(size: number, options: TestImageOptions = {}): TestImage {
  const bytes = options.bytes ?? randomBytes(size);
  const digest =
    'digest' in options ? options.digest : `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const served = new Uint8Array(size);
  const requests: TestImage['requests'] = [];
  async function* chunks(offset: number, length: number) {
    for (let at = offset; at < offset + length; at += 16_384) {
      await options.beforeChunk?.(at);
      await setImmediate();
      const end = Math.min(at + 16_384, offset + length);
      for (let i = at; i < end; i += 1) served[i] = (served[i] as number) + 1;
      yield bytes.subarray(at, end);
    }
  }
  return {
    bytes,
    requests,
    remote: {
      name: { collection: 'demo', image: options.name ?? 'image', tag: 'latest' },
      size,
      digest,
      revision: digest ?? 'r1',
      handle: {},
    },
    source: async (offset, length) => {
      requests.push({ offset, length });
      return Readable.from(chunks(offset, length), { objectMode: false, highWaterMark: 16_384 });
    },
    servedTwice: () => served.filter((count) => count > 1).length,
  };
}

export async function readRange(image: CachedImage, offset: number, length: number): Promise<Buffer> {
  const target = Buffer.alloc(length);
  const count = await image.read(target, offset, length, image.readAhead());
  return target.subarray(0, count);
}

/** Reads all of it as `cp` does, 128 KiB at a time. */
export async function readAll(image: CachedImage): Promise<Buffer> {
  const parts: Buffer[] = [];
  const ahead = image.readAhead();
  for (let offset = 0; ; ) {
    const target = Buffer.alloc(128 * 1024);
    const count = await image.read(target, offset, target.length, ahead);
    if (count === 0) return Buffer.concat(parts);
    parts.push(target.subarray(0, count));
    offset += count;
  }
}
