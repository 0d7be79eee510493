/** Signed URLs, version 4 (cloud.google.com/storage/docs/authentication/canonical-requests and .../signatures). */
import { createHash } from 'node:crypto';
import { uriEncode } from '../http.ts';
import type { Bucket } from './bucket.ts';
import type { Signer } from './credentials.ts';

/** Seconds: the longest that a signature is valid. */
export const MAX_EXPIRES = 7 * 24 * 3600;

const ALGORITHM = 'GOOG4-RSA-SHA256';

/** An address from which whoever has it can get the object for `expires` seconds. */
export function signedUrl(
  bucket: Bucket,
  object: string,
  { signer, expires, now }: { signer: Signer; expires: number; now: Date },
): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/auto/storage/goog4_request`;
  const path = `/${[bucket.name, ...object.split('/')].map(uriEncode).join('/')}`;
  const query = Object.entries({
    'X-Goog-Algorithm': ALGORITHM,
    'X-Goog-Credential': `${signer.email}/${scope}`,
    'X-Goog-Date': time,
    'X-Goog-Expires': String(Math.floor(expires)),
    'X-Goog-SignedHeaders': 'host',
  })
    .map(([name, value]) => `${name}=${uriEncode(value)}`)
    .join('&');
  const canonical = ['GET', path, query, `host:${bucket.base.host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join(
    '\n',
  );
  const hash = createHash('sha256').update(canonical).digest('hex');
  const signature = signer.sign([ALGORITHM, time, scope, hash].join('\n'));
  return `${bucket.base.origin}${path}?${query}&X-Goog-Signature=${signature}`;
}
