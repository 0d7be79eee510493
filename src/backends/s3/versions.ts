/** Versions that a bucket keeps of its objects ("Using versioning in S3 buckets", Amazon S3 User Guide). */
import { isError } from '../../base/errors.ts';
import type { Bucket } from './bucket.ts';
import { headObject, listPages, type StoredObject } from './objects.ts';
import { children, parseXml, textOf } from './xml.ts';

/** The version `id` of the first of `keys` that has it. Ignores case, as name parsers fold versions; an exact match wins. */
export async function findVersion(
  bucket: Bucket,
  keys: readonly string[],
  id: string,
  signal?: AbortSignal,
): Promise<StoredObject | undefined> {
  for (const key of keys) {
    const kept = await versionsOf(bucket, key, signal);
    const alike = kept.filter((version) => version.toLowerCase() === id.toLowerCase());
    const versionId = alike.find((version) => version === id) ?? alike[0];
    if (versionId === undefined) continue;
    const object = await headObject(bucket, key, { versionId }, signal);
    return object && { ...object, ref: { ...object.ref, exact: true } };
  }
  return undefined;
}

/** Whether the bucket keeps versions or once did; false if it does not say. */
export async function keepsVersions(bucket: Bucket, signal?: AbortSignal): Promise<boolean> {
  bucket.versioned ??= await askVersioning(bucket, signal);
  return bucket.versioned;
}

async function askVersioning(bucket: Bucket, signal?: AbortSignal): Promise<boolean> {
  try {
    const reply = await bucket.request('GET', '', { query: { versioning: '' }, signal });
    const status = textOf(parseXml(reply.text(), bucket.show('')), 'Status');
    return status === 'Enabled' || status === 'Suspended';
  } catch (error) {
    if (isError(error, 'FORBIDDEN', 'UNSUPPORTED', 'SERVICE')) return false;
    throw error;
  }
}

async function versionsOf(bucket: Bucket, key: string, signal?: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  const query = { versions: '', prefix: key };
  const pages = listPages(bucket, { query, next: ['key-marker', 'version-id-marker'] }, signal);
  try {
    for await (const page of pages) {
      for (const element of children(page, 'Version')) {
        const version = textOf(element, 'VersionId');
        // Keys that only begin with this one follow it.
        if (textOf(element, 'Key') !== key) return found;
        if (version !== undefined && version !== 'null') found.push(version);
      }
    }
  } catch (error) {
    // The service keeps no versions, or does not list them.
    if (!isError(error, 'UNSUPPORTED', 'FORBIDDEN')) throw error;
  }
  return found;
}
