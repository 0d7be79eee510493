/** What the Python client writes beside its images and finds them by, as custom metadata of an object. */
import { formatImageName } from '../../image/names.ts';
import type { MetadataLimits } from '../kit/metadata.ts';

/**
 * 8 KiB in all ("Quotas and limits", Cloud Storage). Names and values should be fit for HTTP headers, which other clients get them
 * in.
 */
export const METADATA: MetadataLimits = {
  bytes: 8192,
  shape: 'each',
  own: ({ name, key, sha256 }) => {
    const version = name.version ?? sha256;
    const { collection, image, tag } = name;
    const uri = formatImageName({ ...name, version });
    return { type: 'container', client: 'sregistry', collection, image, tag, version, uri, storage: key };
  },
  reserved:
    'type client registry collection image tag version url uri storage original sha256 sha256sum side'.split(
      ' ',
    ),
};
