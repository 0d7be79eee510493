import { expect, test } from 'vitest';
import { redact, registerSecret } from '../../src/log/index.ts';

test.each([
  ['Authorization: Bearer abc.def', 'Authorization: ***'],
  ['authorization: Basic dXNlcjpwYXNz\r\nhost: x', 'authorization: ***\r\nhost: x'],
  ["{ Authorization: 'Basic dXNlcjpwYXNz', host: 'x' }", "{ Authorization: ***, host: 'x' }"],
  [
    '{"authorization":"SREGISTRY-HMAC-SHA256 Credential=a/b,Signature=c","x":1}',
    '{"authorization":***,"x":1}',
  ],
  ['Private-Token: glpat-123', 'Private-Token: ***'],
  ['sent Bearer abcdefgh to it', 'sent Bearer *** to it'],
  ['sent Basic dXNlcjpwYXNz', 'sent Basic ***'],
  ['https://user:pa%40ss@host/x', 'https://***@host/x'],
  ['https://user:p@ss@host/x', 'https://***@host/x'],
  ['https://ghp_token@host/x', 'https://***@host/x'],
  ['https://b/x?X-Amz-Date=1&X-Amz-Signature=abc&y=2', 'https://b/x?X-Amz-Date=1&X-Amz-Signature=***&y=2'],
  ['https://b/x?X-Goog-Signature=abc', 'https://b/x?X-Goog-Signature=***'],
  ['https://b/x?sv=1&sig=a%2Bb', 'https://b/x?sv=1&sig=***'],
  ['https://b/x?token=abc#frag', 'https://b/x?token=***#frag'],
  ['grant_type=refresh_token&refresh_token=abc', 'grant_type=refresh_token&refresh_token=***'],
  ['{"access_token": "a\\"b", "expires_in": 1}', '{"access_token": "***", "expires_in": 1}'],
])('hides the credential in %s', (text, expected) => {
  expect(redact(text)).toBe(expected);
});

test.each([
  'docker://ubuntu:22.04@sha256:abcdef',
  'hub://vsoch/hello-world:latest@version',
  'Www-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
  'Basic authentication was refused',
  'the Bearer token expired',
  'https://host/v2/_catalog?n=100&last=a&next_page_token=abc',
  'https://host/a/user@example.org',
])('leaves %s as it is', (text) => {
  expect(redact(text)).toBe(text);
});

test('hides a registered value wherever it stands, URL-encoded and JSON-escaped too', () => {
  registerSecret('s3cr"t/value');
  expect(redact('a s3cr"t/value b')).toBe('a *** b');
  expect(redact('https://x/?q=s3cr%22t%2Fvalue')).toBe('https://x/?q=***');
  expect(redact(JSON.stringify({ note: 's3cr"t/value' }))).toBe('{"note":"***"}');
});

test('of two registered values hides the longer one whole', () => {
  registerSecret('prefix-1234');
  registerSecret('prefix-1234-and-more');
  expect(redact('<prefix-1234-and-more> <prefix-1234>')).toBe('<***> <***>');
});

test('ignores registered values of less than four characters', () => {
  registerSecret('xyz');
  registerSecret('');
  expect(redact('wxyz')).toBe('wxyz');
});

test('forgets a value after its lifetime, unless it was also registered for good', () => {
  registerSecret('short-lived', -1);
  registerSecret('long-lived', -1);
  registerSecret('long-lived');
  registerSecret('another-one');
  expect(redact('short-lived long-lived')).toBe('short-lived ***');
});

test('takes linear time on hostile text', () => {
  const hostile = ['http://', '"token":"', 'authorization:"', 'Bearer ', 'a.a.', 'token='].map((part) =>
    part.repeat(200_000),
  );
  const started = performance.now();
  for (const text of hostile) redact(text);
  // Quadratic time would be hours; the limit leaves a slow machine plenty.
  expect(performance.now() - started).toBeLessThan(20_000);
});
