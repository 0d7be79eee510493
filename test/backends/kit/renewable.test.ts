import { expect, test, vi } from 'vitest';
import { Renewable } from '../../../src/backends/kit/renewable.ts';

const counting = () => {
  let count = 0;
  return vi.fn(async () => `value-${++count}`);
};

test('A value is looked up once for all who wait, and believed afterwards.', async () => {
  const values = new Renewable<string>({ lifetime: Number.POSITIVE_INFINITY });
  const lookup = counting();
  expect(await Promise.all([values.get('a', lookup), values.get('a', lookup)])).toEqual([
    'value-1',
    'value-1',
  ]);
  expect(await values.get('a', lookup)).toBe('value-1');
  expect(await values.get('b', lookup)).toBe('value-2');
});

test('A value that somebody replaced meanwhile is not replaced again.', async () => {
  const values = new Renewable<string>({ lifetime: 60_000 });
  const lookup = counting();
  await values.get('a', lookup);
  const both = [values.replace('a', 'value-1', lookup), values.replace('a', 'value-1', lookup)];
  expect(await Promise.all(both)).toEqual(['value-2', 'value-2']);
  expect(await values.replace('a', 'value-1', lookup)).toBe('value-2');
});

test('That there is nothing is a value as well.', async () => {
  const values = new Renewable<string | undefined>({ lifetime: 60_000 });
  const lookup = vi.fn(async () => undefined);
  await values.get('a', lookup);
  await values.get('a', lookup);
  expect(lookup).toHaveBeenCalledTimes(1);
});

test('What was looked up before it was forgotten is not remembered.', async () => {
  const values = new Renewable<string>({ lifetime: 60_000 });
  const answer = Promise.withResolvers<string>();
  const before = values.get('a', () => answer.promise);
  await Promise.resolve();
  values.forget();
  answer.resolve('old');
  expect(await before).toBe('old');
  expect(values.peek('a')).toBeUndefined();
});

test('A value without a lifetime is shared by those who wait, and not kept.', async () => {
  const values = new Renewable<string>({ lifetime: 0 });
  const lookup = counting();
  await Promise.all([values.get('a', lookup), values.get('a', lookup)]);
  expect(lookup).toHaveBeenCalledTimes(1);
  expect(await values.get('a', lookup)).toBe('value-2');
});

test('A failed lookup fails all who wait, and is not remembered.', async () => {
  const values = new Renewable<string>({ lifetime: 60_000 });
  const lookup = counting();
  lookup.mockRejectedValueOnce(new Error('once'));
  const outcomes = await Promise.allSettled([values.get('a', lookup), values.get('a', lookup)]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await values.get('a', lookup)).toBe('value-1');
});
