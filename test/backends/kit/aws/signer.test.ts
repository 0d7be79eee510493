import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createSigner } from '../../../../src/backends/kit/aws/signer.ts';

/** The credentials, time and signatures of the examples in "Authenticating Requests", Amazon S3 API Reference. */
const KEY = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const S3 = { driver: 's3', service: 's3', region: 'us-east-1' };
const BUCKET = 'https://examplebucket.s3.amazonaws.com';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2013-05-24T00:00:00Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('signatures', () => {
  const signer = createSigner(S3, async () => KEY);

  test.each([
    [
      'of a listing',
      '/?max-keys=2&prefix=J',
      '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    ],
    [
      'of a parameter without a value',
      '/?lifecycle=',
      'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    ],
  ])("are those of Amazon's examples: %s", async (_what, path, signature) => {
    const headers = await signer.sign({ method: 'GET', url: new URL(BUCKET + path), headers: {} });
    expect(headers.authorization).toContain('SignedHeaders=host;x-amz-content-sha256;x-amz-date');
    expect(headers.authorization).toContain(`Signature=${signature}`);
  });

  test("of links are those of Amazon's example", async () => {
    const link = await signer.presign(new URL(`${BUCKET}/test.txt`), 86_400);
    expect(Object.fromEntries(link.searchParams)).toEqual({
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': 'AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request',
      'X-Amz-Date': '20130524T000000Z',
      'X-Amz-Expires': '86400',
      'X-Amz-SignedHeaders': 'host',
      'X-Amz-Signature': 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    });
  });

  test('cover what S3 wants covered, and nothing that a proxy may change', async () => {
    const headers = {
      'x-amz-acl': 'private',
      'content-md5': 'abc=',
      range: 'bytes=0-9',
      'accept-encoding': 'identity',
    };
    const signed = await signer.sign({ method: 'PUT', url: new URL(`${BUCKET}/x`), headers });
    expect(signed.authorization).toContain(
      'SignedHeaders=content-md5;host;x-amz-acl;x-amz-content-sha256;x-amz-date',
    );
  });

  test('carry the token of a temporary key', async () => {
    const temporary = createSigner(S3, async () => ({ ...KEY, sessionToken: 'token/+=' }));
    const headers = await temporary.sign({ method: 'GET', url: new URL(`${BUCKET}/x`), headers: {} });
    expect(headers['x-amz-security-token']).toBe('token/+=');
    const link = await temporary.presign(new URL(`${BUCKET}/x`), 60);
    expect(link.searchParams.get('X-Amz-Security-Token')).toBe('token/+=');
  });

  test('are not made for nobody, whose links are plain', async () => {
    const nobody = createSigner(S3, async () => undefined);
    const url = new URL(`${BUCKET}/x`);
    expect(await nobody.sign({ method: 'GET', url, headers: {} })).toEqual({});
    expect((await nobody.presign(url, 60)).href).toBe(url.href);
  });
});
