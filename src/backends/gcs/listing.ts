/**
 * What is in a collection, and search. With `/` as the delimiter a bucket is folders, of which the service lists one at a
 * time; a search lists the whole bucket. A page is one request, and tells all that is known of its images but for their side
 * objects.
 */
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { ListEntry, RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import { identityOf, isVisible, parseKey, prefixOf } from '../object-keys.ts';
import type { Bucket } from './bucket.ts';
import { hasSide, newest, toRemoteImage, toWholeImage } from './images.ts';
import { listObjects, type StoredObject } from './objects.ts';

/** An object and the name of its image. */
interface Candidate {
  readonly name: ImageName;
  readonly object: StoredObject;
  /** Of several objects of one image the lowest counts. */
  readonly rank: number;
}

export async function* listCollection(
  bucket: Bucket,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const prefix = prefixOf(collection);
  const images = new Map<string, Candidate>();
  const collections = new Set<string>();
  let isEmpty = true;
  const pages = prefix === undefined ? [] : listObjects(bucket, { prefix, delimiter: '/' }, signal);
  for await (const { objects, prefixes } of pages) {
    if (objects.length + prefixes.length > 0) isEmpty = false;
    for (const path of prefixes) collections.add(path.slice(prefix?.length, -1));
    for (const object of objects) add(images, object);
  }
  if (isEmpty && collection !== '')
    throw new SregistryError('NOT_FOUND', `${bucket.target} has nothing below ${collection}/`);
  for (const name of collections) if (isVisible(name)) yield { kind: 'collection', name };
  for (const { name, object } of withTags([...images.values()])) {
    yield { kind: 'image', name, remote: toRemoteImage(name, object) };
  }
}

function add(images: Map<string, Candidate>, object: StoredObject): void {
  const parsed = parseKey(object.name);
  if (parsed === undefined) return;
  const identity = identityOf(parsed.name);
  const other = images.get(identity);
  if (other === undefined || parsed.rank < other.rank) images.set(identity, { ...parsed, object });
}

/** The images, and one for each tag of which there are versions only. */
function withTags(
  images: readonly Candidate[],
): { readonly name: ImageName; readonly object: StoredObject }[] {
  const tagOf = ({ name }: Candidate) => identityOf({ ...name, version: undefined });
  const own = new Set(images.filter(({ name }) => name.version === undefined).map(tagOf));
  const versions = Map.groupBy(
    images.filter((image) => !own.has(tagOf(image))),
    tagOf,
  );
  const tags = [...versions.values()].map((group) => {
    const object = newest(group.map((candidate) => candidate.object)) as StoredObject;
    return { name: { ...(group[0] as Candidate).name, version: undefined }, object };
  });
  return [...tags, ...images];
}

/** Images that match, each object once and under its own name. */
export async function* searchImages(
  bucket: Bucket,
  { query, labels = {} }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = nameMatcher(query);
  for await (const { objects } of listObjects(bucket, {}, signal)) {
    const images = new Map<string, Candidate>();
    for (const object of objects) add(images, object);
    for (const { name, object } of images.values()) {
      if (!matches(name)) continue;
      const image = toRemoteImage(name, object);
      const isEnough = !hasSide(image) || hasLabels(image.annotations, labels);
      const whole = isEnough ? image : await toWholeImage(bucket, name, object, signal);
      if (hasLabels(whole.annotations, labels)) yield whole;
    }
  }
}
