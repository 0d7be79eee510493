/**
 * OCI distribution registries as Apptainer's `oras://` uses them: an image is a manifest with the image file as its only
 * layer. Names lie where reference.ts says; protocol: OCI distribution specification 1.1.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { type Backend, type DriverContext, defineDriver, type RemoteImage } from '../backend.ts';
import { readBlob } from './blobs.ts';
import { copyImage } from './copy.ts';
import { declaration } from './declaration.ts';
import { handleOf, resolveImage } from './images.ts';
import { listCollection } from './listing.ts';
import { pushImage } from './push.ts';
import { DOCKER_HUB, placeOfImage } from './reference.ts';
import { createRegistries, type Registry } from './registries.ts';
import { removeImage } from './remove.ts';
import { searchImages } from './search.ts';

export default defineDriver({ ...declaration, create });

function create(context: DriverContext): Backend {
  const registries = createRegistries(context);
  const registryOf = (image: RemoteImage) => registries.of(handleOf(image).registry);
  return {
    name: context.name,
    driver: declaration.name,
    target: registries.target,
    defaultCollection: registries.base === undefined ? 'library' : '',
    get http() {
      return registries.of(registries.base ?? DOCKER_HUB).http;
    },

    resolve: (name, signal) => {
      const place = placeOfImage(name, registries.base);
      return resolveImage(registries.of(place.host), place, name, signal);
    },

    read: async (image, offset, length, signal) => {
      const { repository, layer } = handleOf(image);
      if (layer === undefined)
        throw new SregistryError(
          'NOT_PRESENTABLE',
          `${repository}: ${image.unpresentable ?? 'not an image file'}`,
        );
      return readBlob(
        registryOf(image),
        repository,
        { digest: layer, size: image.size, offset, length },
        signal,
      );
    },

    list: (collection, signal) => listCollection(registries, collection, signal),

    push: (file, name, options) => {
      const place = placeOfImage(name, registries.base);
      return pushImage(registries.of(place.host), place, file, name, options);
    },

    search: (query, signal) => searchImages(registries, query, signal),

    copy: (from, to, signal) =>
      copyImage(registryOf(from), from, placeOfImage(to, registries.base), to, signal),

    remove: (image, signal) => removeImage(registryOf(image), image, signal),

    check: (signal) => checkRegistry(registries.of(registries.base ?? DOCKER_HUB), signal),

    close: () => registries.close(),
  };
}

/** `GET /v2/`, as the specification has it for "Determining Support". */
async function checkRegistry(registry: Registry, signal?: AbortSignal): Promise<void> {
  try {
    await registry.http.get('/v2/', { signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
    throw new SregistryError('SERVICE', `${registry.host} is not an OCI registry`, { cause: error });
  }
}
