/** What is canceled ends at once, and leaves no request behind. */
import { expect, test, vi } from 'vitest';
import { hang, stallAfter } from '../../servers/fault-proxy.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content } from './bench.ts';

export function canceling(at: () => Bench, lacks: Lacks): void {
  /** Starts something, cancels it once the service has the request, and waits until that is gone. */
  const expectEnd = async (start: (signal: AbortSignal) => Promise<unknown>) => {
    const controller = new AbortController();
    const before = at().requests;
    const ending = expect(start(controller.signal)).rejects.toMatchObject({ code: 'CANCELED' });
    await vi.waitFor(() => expect(at().requests).toBeGreaterThan(before), { timeout: 30_000 });
    controller.abort();
    await ending;
    await vi.waitFor(() => expect(at().proxy.active()).toBe(0), { timeout: 30_000 });
  };

  test('a name being resolved', async () => {
    const { image } = await at().image();
    at().proxy.inject(hang);
    await expectEnd((signal) => at().backend.resolve(image.name, signal));
  });

  test('a read that waits for its first byte', async () => {
    const { image } = await at().image();
    at().proxy.inject(hang);
    await expectEnd((signal) => at().backend.read(image, 0, 1000, signal));
  });

  test('a read in its middle', async () => {
    const { image } = await at().image();
    at().proxy.inject(stallAfter(1000));
    await expectEnd(async (signal) => {
      const stream = await at().backend.read(image, 0, image.size, signal);
      for await (const _chunk of stream);
    });
  });

  test('a read whose stream is destroyed', async () => {
    const { image } = await at().image();
    at().proxy.inject(stallAfter(1000));
    const stream = await at().backend.read(image, 0, image.size);
    stream.destroy();
    await vi.waitFor(() => expect(at().proxy.active()).toBe(0), { timeout: 30_000 });
  });

  if (lacks.list === undefined) {
    test('a listing', async () => {
      const { image } = await at().image();
      // Not one whose answer an earlier test has left in a cache.
      const backend = await at().connect();
      at().proxy.inject(hang);
      await expectEnd(async (signal) => {
        for await (const _entry of backend.list(image.name.collection, signal));
      });
    });
  }

  if (lacks.push === undefined) {
    test('a push', async () => {
      const file = await at().file(content());
      at().proxy.inject(hang);
      await expectEnd(async (signal) => at().backend.push?.(file, at().name(), { signal }));
    });
  }

  test('what is canceled before it begins asks nothing', async () => {
    const { image } = await at().image();
    const before = at().requests;
    const signal = AbortSignal.abort();
    await expect(at().backend.resolve(image.name, signal)).rejects.toMatchObject({ code: 'CANCELED' });
    await expect(at().backend.read(image, 0, 10, signal)).rejects.toMatchObject({ code: 'CANCELED' });
    expect(at().requests).toBe(before);
  });
}
