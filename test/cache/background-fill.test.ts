import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BackgroundFill, type Fillable } from '../../src/cache/background-fill.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** An image of three parts that is read every second for so many seconds. */
function image(seconds: number) {
  const start = Date.now();
  let parts = 0;
  return {
    uri: `read for ${seconds} s`,
    references: 1,
    get complete() {
      return parts === 3;
    },
    firstRead: start,
    get lastRead() {
      return Math.min(Date.now(), start + seconds * 1000);
    },
    completeStep: async () => {
      if (parts === 3) return false;
      parts += 1;
      return true;
    },
  };
}

async function watch(images: Fillable[], seconds: number): Promise<void> {
  const fill = new BackgroundFill(() => images);
  fill.start();
  await vi.advanceTimersByTimeAsync(seconds * 1000);
  await fill.stop();
}

test('an image in continued use is completed in the background', async () => {
  const used = image(60);
  await watch([used], 60);
  expect(used.complete).toBe(true);
});

test('images that are only looked at are not', async () => {
  const looked = Array.from({ length: 1000 }, () => image(2));
  await watch(looked, 120);
  expect(looked.filter(({ complete }) => complete)).toEqual([]);
});

test('images in continued use are completed one after the other', async () => {
  let running = 0;
  let most = 0;
  const used = [image(600), image(600), image(600)];
  for (const each of used) {
    const step = each.completeStep;
    each.completeStep = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      running -= 1;
      return step();
    };
  }
  await watch(used, 300);
  expect(used.every(({ complete }) => complete)).toBe(true);
  expect(most).toBe(1);
});

test('one that cannot be completed does not keep the others from it', async () => {
  const failing = {
    ...image(600),
    complete: false,
    lastRead: Date.now() + 600_000,
    completeStep: async () => Promise.reject(new Error('full')),
  };
  const used = image(600);
  await watch([failing, used], 90);
  expect(used.complete).toBe(true);
});
