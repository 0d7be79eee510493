import { expect, test } from 'vitest';
import { children, parseXml } from '../../../src/backends/s3/xml.ts';

const LISTING =
  '<?xml version="1.0"?><ListBucketResult><Name>b</Name><Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents></ListBucketResult>';

test('a listing that was cut off is an error, never a shorter one', () => {
  expect(children(parseXml(LISTING, 'GET'), 'Contents').length).toBe(2);
  for (let length = 0; length < LISTING.length; length += 1)
    expect(() => parseXml(LISTING.slice(0, length), 'GET'), LISTING.slice(0, length)).toThrow(
      'the reply is not from an S3 service',
    );
});
