/** What is in a collection. With `/` as the delimiter a bucket is folders, of which the service lists one at a time. */
import { SregistryError } from '../../base/errors.ts';
import type { ListEntry, RemoteImage } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { type Handle, opaque } from './images.ts';
import { identityOf, isVisible, type KeyParts, parseKey, prefixOf } from './layout.ts';
import { type ListedObject, listObjects } from './objects.ts';
import { keepsVersions } from './versions.ts';

/**
 * What lies directly in `collection`. A listing tells entity tags and no versions: where the bucket keeps those, an
 * entry is not told as an image that resolves.
 */
export async function* listCollection(
  bucket: Bucket,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const prefix = prefixOf(collection);
  if (prefix === undefined) throw noCollection(bucket, collection);
  const versioned = keepsVersions(bucket, signal);
  versioned.catch(() => {});
  const images = new Map<string, KeyParts & { readonly object: ListedObject }>();
  const collections = new Set<string>();
  let isEmpty = true;
  for await (const { objects, prefixes } of listObjects(bucket, { prefix, delimiter: '/' }, signal)) {
    if (objects.length + prefixes.length > 0) isEmpty = false;
    for (const path of prefixes) {
      const name = path.slice(prefix.length, -1);
      if (path.startsWith(prefix) && isVisible(name)) collections.add(name);
    }
    for (const object of objects) {
      const parts = parseKey(object.key);
      if (parts === undefined || parts.name.collection !== collection) continue;
      const other = images.get(identityOf(parts.name));
      if (other === undefined || parts.rank < other.rank)
        images.set(identityOf(parts.name), { ...parts, object });
    }
  }
  if (isEmpty && collection !== '') throw noCollection(bucket, collection);
  for (const name of collections) yield { kind: 'collection', name };
  const tellsAll = !(await versioned);
  for (const { object, ...parts } of images.values()) {
    const told = tellsAll ? { remote: toListedImage(parts, object) } : { extension: parts.extension };
    yield { kind: 'image', name: parts.name, ...told };
  }
}

/** An image as a listing knows it: without metadata. */
export function toListedImage(
  { name, extension }: KeyParts,
  { key, size, modified, etag }: ListedObject,
): RemoteImage {
  const handle: Handle = { key, etag };
  return { name, size, modified, revision: opaque(etag), extension, handle };
}

function noCollection(bucket: Bucket, collection: string): SregistryError {
  return new SregistryError('NOT_FOUND', `${bucket.place.target} has nothing below ${collection}/`);
}
