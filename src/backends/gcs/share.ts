/**
 * Sharing an image. For everybody with the link: the address of a public image, or one that is signed with the key of a
 * service account. For one person (`email`): the right to read it, given with the object's access list, or where the bucket
 * has one policy for all of it, with a condition in that policy; and the address to read it at once logged in to Google.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { ShareOptions } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { MAX_EXPIRES, signedUrl } from './signed-url.ts';

/** Seconds that a link lives unless told otherwise: a day. */
const DEFAULT_EXPIRES = 24 * 3600;

export async function shareObject(
  bucket: Bucket,
  object: string,
  { email, expires }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined) return shareWith(bucket, object, { email, expires }, signal);
  if (bucket.publishes && expires === undefined) return publicUrl(bucket, object);
  if (expires !== undefined && expires > MAX_EXPIRES)
    throw new SregistryError('USAGE', 'A link lives for at most 7 days', { hint: '--expires 7d' });
  const signer = await bucket.credentials.signer();
  if (signer !== undefined)
    return signedUrl(bucket, object, { signer, expires: expires ?? DEFAULT_EXPIRES, now: new Date() });
  if (bucket.publishes) return publicUrl(bucket, object);
  throw new SregistryError('UNSUPPORTED', 'A link can only be signed with the key of a service account', {
    hint: 'name its file in GOOGLE_APPLICATION_CREDENTIALS, or share with one person: --email WHOM',
  });
}

function publicUrl(bucket: Bucket, object: string): string {
  return new URL([bucket.name, ...object.split('/')].map(encodeURIComponent).join('/'), bucket.base).href;
}

interface Grant {
  readonly email: string;
  readonly expires: number | undefined;
}

async function shareWith(
  bucket: Bucket,
  object: string,
  grant: Grant,
  signal?: AbortSignal,
): Promise<string> {
  if (grant.expires !== undefined || !(await grantInAcl(bucket, object, grant.email, signal)))
    await grantInPolicy(bucket, object, grant, signal);
  return `https://storage.cloud.google.com/${bucket.name}/${object.split('/').map(encodeURIComponent).join('/')}`;
}

/** False where the bucket has no access lists of objects ("uniform bucket-level access"). */
async function grantInAcl(
  bucket: Bucket,
  object: string,
  email: string,
  signal?: AbortSignal,
): Promise<boolean> {
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

/** Adds a rule for this object, and for as long as told. */
async function grantInPolicy(
  bucket: Bucket,
  object: string,
  { email, expires }: Grant,
  signal?: AbortSignal,
): Promise<void> {
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
