/**
 * The backend of OCI distribution registries (OCI distribution specification 1.1), and presets of it. A service that is such a
 * registry with its own login (NVIDIA NGC, Amazon ECR, GitLab) needs a declaration and a function that says where the registry is
 * and how to log in. reference.ts maps names to repositories. An image is stored as by Apptainer's `oras://`: a manifest with the
 * image file as its only layer.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { formatArchitecture, platformFor } from '../../base/platform.ts';
import type { ImageName } from '../../image/name.ts';
import type { OptionSchema } from '../../settings/options.ts';
import { type Backend, type Driver, type DriverContext, defineDriver, type RemoteImage } from '../backend.ts';
import { imagesOf } from '../kit/search.ts';
import { readBlob } from './blobs.ts';
import { copyImage } from './copy.ts';
import { handleOf, resolveImage } from './images.ts';
import { listCollection, matchingNames } from './listing.ts';
import { pushImage } from './push.ts';
import { isNamespace, repositoryOfImage } from './reference.ts';
import { createRegistries, type OciSettings, type Registry } from './registries.ts';
import { removeImage } from './remove.ts';
import { SOCI_OPTION } from './soci-option.ts';
import { keepTrace } from './trace.ts';

export interface OciPreset<S extends OptionSchema> extends Omit<Driver<S>, 'create'> {
  /** Where the registry is and how to log in to it. Throws SETTINGS if the options do not say. */
  connect(context: DriverContext<S>): PresetSettings;
}

export interface PresetSettings extends Omit<OciSettings, 'platform'> {
  /** Architecture of images that exist for several, as `--arch` takes it. Default: that of this machine. */
  readonly arch?: string | undefined;
  /** The collection of a name without one. Default: `''`, or Docker Hub's `library` without a `base`. */
  readonly defaultCollection?: string | undefined;
}

/**
 * The driver of a service that is an OCI registry:
 *
 *     export default ociPreset({
 *       ...declaration,
 *       connect: ({ options }) => ({
 *         base: 'nvcr.io',
 *         login: async () => options.token && { username: '$oauthtoken', password: options.token },
 *       }),
 *     });
 */
export function ociPreset<const S extends OptionSchema>({
  connect,
  ...declaration
}: OciPreset<S>): Driver<S> {
  return defineDriver<S>({
    ...declaration,
    create: (context) => createOci(declaration.name, context, connect(context)),
  });
}

function createOci<S extends OptionSchema>(
  driver: string,
  context: DriverContext<S>,
  settings: PresetSettings,
): Backend {
  const platform = platformFor(settings.arch);
  const registries = createRegistries(context, { ...settings, platform });
  const at = (name: ImageName, signal?: AbortSignal) =>
    registries.at(repositoryOfImage(name, registries.base), signal);
  const of = (image: RemoteImage, signal?: AbortSignal) => {
    const { registry: host, repository } = handleOf(image);
    return registries.at({ host, repository }, signal);
  };
  const resolve: Backend['resolve'] = (name, signal) => resolveImage(at(name, signal), name);
  return {
    name: context.name,
    driver,
    target: registries.target,
    arch: formatArchitecture(platform),
    ...(settings.soci !== undefined &&
      settings.soci !== SOCI_OPTION.default && { chooses: `soci=${settings.soci}` }),
    defaultCollection: settings.defaultCollection ?? (registries.base === undefined ? 'library' : ''),
    get http() {
      return registries.own.http;
    },

    resolve,
    resolvesAhead: true,
    read: async (image, offset, length, signal) => {
      const { repository, layer } = handleOf(image);
      if (layer !== undefined)
        return readBlob(of(image, signal), layer, { size: image.size, offset, length });
      const why = image.unpresentable ?? 'not an image file';
      throw new SregistryError('NOT_PRESENTABLE', `${repository}: ${why}`);
    },
    readBlob: (image, { digest, size }, offset, length, signal) =>
      readBlob(of(image, signal), digest, { size, offset, length }),
    list: (collection, signal) => listCollection(registries, collection, signal),
    isCollectionName: (collection) => isNamespace(collection, registries.base),
    push: (file, name, options) => pushImage(at(name, options?.signal), file, name, options),
    search: ({ query, labels }, signal) =>
      imagesOf(matchingNames(registries, query, signal), labels, (name) => resolve(name, signal)),
    copy: async (from, to, signal) => copyImage(of(from, signal), from, at(to, signal), to),
    keepTrace: async (image, trace, signal) => keepTrace(of(image, signal), image, trace),
    remove: async (image, signal) => removeImage(of(image, signal), image),
    check: (signal) => checkRegistry(registries.own, signal),
    close: () => registries.close(),
  };
}

/** Sends `GET /v2/` ("Determining Support" in the specification). */
async function checkRegistry({ http, host }: Registry, signal?: AbortSignal): Promise<void> {
  try {
    await http.get('/v2/', { signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
    throw new SregistryError('SERVICE', `${host} is not an OCI registry`, { cause: error });
  }
}
