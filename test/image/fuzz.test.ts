import { expect, it } from 'vitest';
import { fuzz } from '../fuzz/images.ts';

it('an image changed at random is read to an answer or a clear error', async () => {
  const { inputs, answers } = await fuzz(20_260_101, 2000);
  expect(inputs).toBe(2000);
  expect(answers).toBeGreaterThan(200);
  expect(answers).toBeLessThan(1800);
});
