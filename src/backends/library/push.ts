/**
 * Pushes images. The library knows entities, collections, containers and images by id; what is missing is created. An image is called
 * by its hash, so one that the library has is only tagged. Bytes go to presigned URLs, with their checksum: `sha256` where the URL is
 * signed for it, else `md5`. Tags are set last, so that no tag means an image without its bytes.
 *
 * Libraries from API version 2.0.0-alpha.2 on keep tags by architecture.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { hashFile } from '../../base/hash.ts';
import { sifArchitecture } from '../../image/architecture.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import type { Links } from '../kit/manifest-link.ts';
import { onlyForward } from '../kit/progress.ts';
import { type Api, getData, send, textOf } from './api.ts';
import {
  containerPath,
  fetchManifest,
  type Manifest,
  manifestPath,
  parseManifest,
  toImage,
} from './images.ts';
import { uploadFile } from './upload.ts';

/** The first API version with tags by architecture (`client/version.go`). */
const ARCH_TAGS = '2.0.0-alpha.2';

export async function pushImage(
  api: Api,
  links: Links,
  file: ImageFile,
  name: ImageName,
  { progress, signal, ifAbsent, resume }: PushOptions = {},
): Promise<RemoteImage> {
  const container = containerPath(name);
  const parts = container?.split('/').map(decodeURIComponent) ?? [];
  if (container === undefined || parts.length !== 3) throw badName(name);
  const { sha256, md5 } = await hashFile(file.path, ['sha256', 'md5'], { signal }).catch((error) => {
    throw isError(error) ? error : fileError('read', file.path, error);
  });
  const arch = (await sifArchitecture(file.path)) ?? api.arch;
  const atTag = await fetchManifest(api, manifestPath(container, name.tag, arch), signal);
  if (ifAbsent && atTag !== undefined)
    throw new SregistryError('EXISTS', `${api.base.host} already has ${formatImageName(name)}`);

  const hash = `sha256.${sha256}`;
  const containerId = await ensureContainer(api, parts, signal);
  const path = manifestPath(container, hash, arch);
  const image = await ensureImage(api, path, { hash, description: '', container: containerId }, signal);
  const forward = onlyForward(progress);
  if (image.uploaded !== true) {
    const digest = `sha256:${sha256}`;
    const source = { path: file.path, size: file.size, digest, md5 };
    await uploadFile(api, image.id, source, { progress: forward, signal, resume });
  }
  forward(file.size, file.size);
  await setTag(api, containerId, { arch, tag: name.tag, image: image.id }, signal);

  const tagPath = manifestPath(container, name.tag, arch);
  const stored = await fetchManifest(api, tagPath, signal);
  if (stored === undefined || stored.uploaded === false || stored.version !== hash)
    throw new SregistryError(
      'SERVICE',
      `${api.base.host} does not have ${formatImageName(name)} after its push`,
      {
        hint: 'somebody else may have pushed at the same time; push again',
      },
    );
  const pushed = await toImage(links, name, tagPath, stored, signal);
  if (pushed.size === file.size) return pushed;
  throw changedWhilePushed(`${file.path}: the library has ${pushed.size} bytes of ${file.size}`);
}

/** The image of a hash, which may still lack its bytes. */
async function ensureImage(
  api: Api,
  path: string,
  description: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<Manifest> {
  const find = () => fetchManifest(api, path, signal);
  const create = () => send(api, 'POST', 'v1/images', description, { signal });
  const image = (await find()) ?? (await orFound(create, find, (data) => parseManifest(api, path, data)));
  if (image.id !== '') return image;
  throw new SregistryError('SERVICE', `${path}: the library does not state the id of the image`);
}

/** What `create` makes; if it fails, what another push has made meanwhile. */
async function orFound<A, T>(
  create: () => Promise<A>,
  find: () => Promise<T | undefined>,
  convert: (answer: A) => T,
): Promise<T> {
  try {
    return convert(await create());
  } catch (error) {
    const found = isError(error) && error.status !== undefined ? await find() : undefined;
    if (found === undefined) throw error;
    return found;
  }
}

/** The id of the container; creates it, and the entity and collection above it, if they are missing. */
async function ensureContainer(
  api: Api,
  [entity = '', collection = '', container = '']: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const ensure = async (kind: string, path: readonly string[], parent: Readonly<Record<string, string>>) => {
    const place = `v1/${kind}/${path.map(encodeURIComponent).join('/')}`;
    const idOf = (data: unknown) => textOf(data, 'id', place);
    const find = async () => {
      const data = await getData(api, place, { signal });
      return isJsonObject(data) ? idOf(data) : undefined;
    };
    const description = { name: path.at(-1), description: 'No description', ...parent };
    return (
      (await find()) ?? orFound(() => send(api, 'POST', `v1/${kind}`, description, { signal }), find, idOf)
    );
  };
  const entityId = await ensure('entities', [entity], {});
  const collectionId = await ensure('collections', [entity, collection], { entity: entityId });
  return ensure('containers', [entity, collection, container], { collection: collectionId });
}

interface Tag {
  readonly arch: string;
  readonly tag: string;
  /** Id of the image. */
  readonly image: string;
}

async function setTag(api: Api, container: string, { arch, tag, image }: Tag, signal?: AbortSignal) {
  const byArch = atLeast(await api.version(signal), ARCH_TAGS);
  const path = `${byArch ? 'v2' : 'v1'}/tags/${encodeURIComponent(container)}`;
  await send(api, 'POST', path, { ...(byArch && { Arch: arch }), Tag: tag, ImageID: image }, { signal });
}

/** Compares versions such as `2.0.0-alpha.2`; a version without a suffix is newer than one with it (semver.org, section 11). */
export function atLeast(version: string | undefined, wanted: string): boolean {
  if (version === undefined) return false;
  const [numbers = '', suffix = '~'] = version.split('+')[0]?.split(/-(.*)/) ?? [];
  const [wantedNumbers = '', wantedSuffix = '~'] = wanted.split(/-(.*)/);
  const compare = (one: string, other: string) => one.localeCompare(other, 'en', { numeric: true });
  const order = compare(numbers, wantedNumbers);
  return (
    order > 0 ||
    (order === 0 && (suffix === '~' || (wantedSuffix !== '~' && compare(suffix, wantedSuffix) >= 0)))
  );
}

function badName(name: ImageName): SregistryError {
  return new SregistryError(
    'INVALID_NAME',
    `${formatImageName(name)} cannot be the name of an image in a library`,
    {
      hint: 'A name has three parts, each of letters, digits and . _ -: library://entity/collection/container:tag',
    },
  );
}
