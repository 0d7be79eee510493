/** What the Python client writes beside each image at Google's services, and finds its images by. */
import { formatImageName } from '../../image/names.ts';
import type { MetadataLimits } from './metadata.ts';

export const PYTHON_METADATA = {
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
} satisfies Partial<MetadataLimits>;
