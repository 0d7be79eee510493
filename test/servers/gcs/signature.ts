/** Addresses with a signature of version 4 ("Canonical requests", Cloud Storage). */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { Refusal } from './refusal.ts';

/** `keys`: public keys in PEM, by the email of their service account. */
export function checkSignature(url: URL, keys: Readonly<Record<string, string>>): void {
  const forbidden = new Refusal(403, 'forbidden', 'SignatureDoesNotMatch');
  const signature = url.searchParams.get('X-Goog-Signature');
  const [email = '', ...scope] = (url.searchParams.get('X-Goog-Credential') ?? '').split('/');
  const time = url.searchParams.get('X-Goog-Date') ?? '';
  const key = keys[email];
  if (signature === null || key === undefined) throw forbidden;
  const query = url.search
    .slice(1)
    .split('&')
    .filter((part) => !part.startsWith('X-Goog-Signature='))
    .sort()
    .join('&');
  const canonical = ['GET', url.pathname, query, `host:${url.host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join(
    '\n',
  );
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['GOOG4-RSA-SHA256', time, scope.join('/'), hash].join('\n');
  const isValid = verify(
    'RSA-SHA256',
    Buffer.from(text),
    createPublicKey(key),
    Buffer.from(signature, 'hex'),
  );
  if (!isValid) throw forbidden;
  const start = Date.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (Date.now() > start + Number(url.searchParams.get('X-Goog-Expires')) * 1000)
    throw new Refusal(400, 'expired', 'ExpiredToken');
}
