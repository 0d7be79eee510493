/**
 * SOCI indexes (github.com/awslabs/soci-snapshotter, docs/soci-index-manifest-v2.md): manifests whose layers are the ztocs of an
 * image's layers.
 *
 * Only the second version counts: the image's own manifest names the index by its digest. One of the first version refers to the image
 * from outside, so anybody who may push to the repository could say with it what an image holds.
 */
import { isError } from '../../base/errors.ts';
import type { ZtocBlob } from '../../image/layers/image.ts';
import { debugLog } from '../../log/index.ts';
import type { Manifest } from './manifest.ts';
import { isDigest } from './reference.ts';

const debug = debugLog('oci');

const INDEX_TYPE = 'application/vnd.amazon.soci.index.v2+json';
const INDEX_DIGEST = 'com.amazon.soci.index-digest';
const LAYER_DIGEST = 'com.amazon.soci.image-layer-digest';

/**
 * The ztocs that the index of an image names, by the digests of their layers. None if it has no index that can be used.
 * @param fetch gives a manifest whose digest is right.
 */
export async function ztocsOf(
  { annotations }: Manifest,
  fetch: (digest: string) => Promise<Manifest | undefined>,
): Promise<ReadonlyMap<string, ZtocBlob>> {
  const digest = annotations[INDEX_DIGEST];
  if (digest === undefined || !isDigest(digest)) return new Map();
  try {
    const index = await fetch(digest);
    if (index?.config?.mediaType !== INDEX_TYPE) return new Map();
    return new Map(
      index.layers.flatMap(({ annotations: { [LAYER_DIGEST]: layer }, digest: ztoc, size }) =>
        layer === undefined ? [] : [[layer, { digest: ztoc, size }] as const],
      ),
    );
  } catch (error) {
    // The layers can be read without it.
    if (isError(error, 'CANCELED')) throw error;
    debug('the SOCI index %s is not used: %o', digest, error);
    return new Map();
  }
}
