/**
 * SOCI indexes (github.com/awslabs/soci-snapshotter, docs/soci-index-manifest-v2.md, docs/soci-index-manifest-v1.md): manifests whose
 * layers are the ztocs of an image's layers.
 *
 * The manifest of an image names an index of the second version by its digest, so whoever trusts the image trusts the index. One of the
 * first version refers to the image from outside: anybody who may push to the repository can say with it what an image holds. It counts
 * only where the option says so, and only if the image names none.
 */
import { parseDate } from '../../base/date.ts';
import { isError } from '../../base/errors.ts';
import type { ZtocBlob } from '../../image/layers/image.ts';
import { debugLog } from '../../log/index.ts';
import { type FetchedManifest, fetchManifest, MANIFEST_MAX } from './fetch-manifest.ts';
import { CREATED, type Descriptor } from './manifest.ts';
import { isDigest } from './reference.ts';
import { referrersOf } from './referrers.ts';
import type { Repository } from './registries.ts';

const debug = debugLog('oci');

const TYPE_1 = 'application/vnd.amazon.soci.index.v1+json';
const TYPE_2 = 'application/vnd.amazon.soci.index.v2+json';
const INDEX_DIGEST = 'com.amazon.soci.index-digest';
const LAYER_DIGEST = 'com.amazon.soci.image-layer-digest';
/** Most indexes that refer to an image to look at: of each platform's image, people make one or two. */
const CANDIDATES_MAX = 8;

export interface SociIndex {
  readonly digest: string;
  /** By the digests of their layers; at least one. */
  readonly ztocs: ReadonlyMap<string, ZtocBlob>;
}

/** The SOCI index to use for an image, as the backend's option `soci` allows. Undefined if the image has no usable index. */
export async function sociIndexOf(
  repository: Repository,
  image: FetchedManifest,
): Promise<SociIndex | undefined> {
  if (repository.soci === 'off') return undefined;
  const named = await usable('named', image, () => namedIndex(repository, image));
  if (named !== undefined || repository.soci === 'annotation') return named;
  return usable('referring', image, () => referringIndex(repository, image));
}

async function namedIndex(repository: Repository, image: FetchedManifest): Promise<SociIndex | undefined> {
  const digest = image.annotations[INDEX_DIGEST];
  if (digest === undefined || !isDigest(digest)) return undefined;
  const index = await fetchManifest(repository, digest);
  return index?.config?.mediaType === TYPE_2 ? indexFor(image, index) : undefined;
}

/** Of the indexes that refer to the image, the first that can be used: the newest, and of those the one with the least digest. */
async function referringIndex(
  repository: Repository,
  image: FetchedManifest,
): Promise<SociIndex | undefined> {
  const found = await referrersOf(repository, image.digest, TYPE_1);
  const likely = found.filter(({ size }) => size > 0 && size <= MANIFEST_MAX).sort(newestFirst);
  for (const { digest } of likely.slice(0, CANDIDATES_MAX)) {
    const index = await usable('referring', image, () => fetchManifest(repository, digest));
    const isIts = index?.config?.mediaType === TYPE_1 && index.subject?.digest === image.digest;
    const ztocs = isIts ? indexFor(image, index) : undefined;
    if (ztocs !== undefined) return ztocs;
  }
  return undefined;
}

function newestFirst(one: Descriptor, other: Descriptor): number {
  const timeOf = ({ annotations }: Descriptor) => parseDate(annotations[CREATED])?.getTime() ?? 0;
  return timeOf(other) - timeOf(one) || (one.digest < other.digest ? -1 : 1);
}

/** What the index tells of the layers of the image; undefined if that is nothing. */
function indexFor(image: FetchedManifest, { digest, layers }: FetchedManifest): SociIndex | undefined {
  const known = new Set(image.layers.map((layer) => layer.digest));
  const ztocs = layers.flatMap(({ annotations: { [LAYER_DIGEST]: layer }, digest: ztoc, size }) =>
    layer === undefined || !known.has(layer) ? [] : [[layer, { digest: ztoc, size }] as const],
  );
  return ztocs.length === 0 ? undefined : { digest, ztocs: new Map(ztocs) };
}

/** What `find` gives; undefined if it fails, as the layers can be read without an index. */
async function usable<T>(
  which: 'named' | 'referring',
  { digest }: FetchedManifest,
  find: () => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await find();
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('a %s SOCI index of %s is not used: %o', which, digest, error);
    return undefined;
  }
}
