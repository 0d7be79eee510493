import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { getThumbnail } from '../../src/client/index.ts';

test('The thumbnail is a picture of the size that services want.', () => {
  const picture = readFileSync(getThumbnail({}));
  expect(picture.subarray(1, 4).toString()).toBe('PNG');
  const width = picture.readUInt32BE(16);
  expect(width).toBeGreaterThanOrEqual(220);
  expect(picture.length).toBeLessThan(2_000_000);
});

test('SREGISTRY_THUMBNAIL names another one.', () => {
  expect(getThumbnail({ SREGISTRY_THUMBNAIL: '/pictures/mine.png' })).toBe('/pictures/mine.png');
});
