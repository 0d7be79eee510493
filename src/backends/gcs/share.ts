/**
 * Shares an image. For everybody with the link: the address of a public image, or an address signed with the key of a service
 * account. For one person (`email`): permission to read, granted in the object's access list, or, in a bucket with one policy for
 * all objects, by a condition in that policy; and the address to read at after a login to Google.
 *
 * Links are signed URLs of version 4 (cloud.google.com/storage/docs/authentication/canonical-requests and .../signatures).
 */
import { createHash } from 'node:crypto';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ShareOptions } from '../backend.ts';
import type { Signer } from '../kit/google-credentials.ts';
import { encodeKey, encodeQuery } from '../kit/signed-address.ts';
import type { Bucket } from './bucket.ts';

/** Default lifetime of a link in seconds: a day. */
const DEFAULT_EXPIRES = 24 * 3600;
/** Longest lifetime of a signature in seconds. */
const MAX_EXPIRES = 7 * 24 * 3600;

export async function shareObject(
  bucket: Bucket,
  object: string,
  { email, expires }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined) return shareWith({ bucket, object, email, expires, signal });
  if (bucket.publishes && expires === undefined) return publicUrl(bucket, object);
  if (expires !== undefined && expires > MAX_EXPIRES)
    throw new SregistryError('USAGE', 'A link is valid for at most 7 days', { hint: '--expires 7d' });
  const signer = await bucket.credentials.signer();
  if (signer !== undefined)
    return signedUrl(bucket, object, { signer, expires: expires ?? DEFAULT_EXPIRES, now: new Date() });
  if (bucket.publishes) return publicUrl(bucket, object);
  throw new SregistryError('UNSUPPORTED', 'Signing a link needs the key of a service account', {
    hint: 'set GOOGLE_APPLICATION_CREDENTIALS to its file, or share with one person: --email WHOM',
  });
}

const ALGORITHM = 'GOOG4-RSA-SHA256';

/** An address at which anybody can GET the object for `expires` seconds. */
function signedUrl(
  bucket: Bucket,
  object: string,
  { signer, expires, now }: { signer: Signer; expires: number; now: Date },
): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/auto/storage/goog4_request`;
  const path = `/${bucket.name}/${encodeKey(object)}`;
  const query = encodeQuery({
    'X-Goog-Algorithm': ALGORITHM,
    'X-Goog-Credential': `${signer.email}/${scope}`,
    'X-Goog-Date': time,
    'X-Goog-Expires': Math.floor(expires),
    'X-Goog-SignedHeaders': 'host',
  });
  const canonical = ['GET', path, query, `host:${bucket.base.host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join(
    '\n',
  );
  const hash = createHash('sha256').update(canonical).digest('hex');
  const signature = signer.sign([ALGORITHM, time, scope, hash].join('\n'));
  return `${bucket.base.origin}${path}?${query}&X-Goog-Signature=${signature}`;
}

function publicUrl(bucket: Bucket, object: string): string {
  return new URL([bucket.name, ...object.split('/')].map(encodeURIComponent).join('/'), bucket.base).href;
}

/** Permission for one person to read an object. */
interface Grant {
  readonly bucket: Bucket;
  readonly object: string;
  readonly email: string;
  readonly expires: number | undefined;
  readonly signal: AbortSignal | undefined;
}

async function shareWith(grant: Grant): Promise<string> {
  const { bucket, object, expires } = grant;
  if (expires !== undefined || !(await grantInAcl(grant))) await grantInPolicy(grant);
  return `https://storage.cloud.google.com/${bucket.name}/${object.split('/').map(encodeURIComponent).join('/')}`;
}

/** False if the bucket has no access lists of objects ("uniform bucket-level access"). */
async function grantInAcl({ bucket, object, email, signal }: Grant): Promise<boolean> {
  try {
    const json = { entity: `user-${email}`, role: 'READER' };
    await bucket.request('POST', bucket.objectPath(object, 'acl'), { json, idempotent: true, signal });
    return true;
  } catch (error) {
    if (isError(error) && error.status === 400 && /uniform bucket-level/i.test(error.message)) return false;
    throw error;
  }
}

interface Policy {
  readonly bindings?: readonly unknown[];
}

/** Policies with conditions are of this version (IAM, "Policy versions"). */
const POLICY_VERSION = 3;

/** Adds a rule for this object, which ends after `expires` seconds. */
async function grantInPolicy({ bucket, object, email, expires, signal }: Grant): Promise<void> {
  const path = bucket.path('iam');
  const query = { optionsRequestedPolicyVersion: POLICY_VERSION };
  const policy = (await bucket.request('GET', path, { query, signal })).json() as Policy;
  const end = expires === undefined ? undefined : new Date(Date.now() + expires * 1000).toISOString();
  const resource = JSON.stringify(`projects/_/buckets/${bucket.name}/objects/${object}`);
  const binding = {
    role: 'roles/storage.objectViewer',
    members: [`user:${email}`],
    condition: {
      title: 'shared by sregistry',
      expression: `resource.name == ${resource}${end === undefined ? '' : ` && request.time < timestamp("${end}")`}`,
    },
  };
  const json = { ...policy, version: POLICY_VERSION, bindings: [...(policy.bindings ?? []), binding] };
  await bucket.request('PUT', path, { json, signal });
}
