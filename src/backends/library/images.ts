/**
 * Resolves images. `GET v1/images/<entity>/<collection>/<container>:<tag>?arch=amd64` answers
 *
 *     { "data": { "id": "...", "hash": "sha256.<hex>", "size": 1234, "uploaded": true, "arch": "amd64", "tags": ["latest"] } }
 *
 * (`client/models.go` of Apptainer's container-library-client). The bytes are at `v1/imagefile/<name>:sha256.<hex>`, which redirects to
 * a presigned URL, or sends them itself. That address names one revision, and gives a new presigned URL when the last one has expired.
 * Singularity Registry Server does not state `uploaded`, and its `size` may be in megabytes, so there the storage tells the size.
 */
import { parseDate } from '../../base/date.ts';
import { isError } from '../../base/errors.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { isPathComponent } from '../../image/names.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { RemoteImage } from '../backend.ts';
import type { Link, Links } from '../kit/manifest-link.ts';
import { type Api, getData, textOf } from './api.ts';

/** An image as the library describes it. Its version is the hash. */
export interface Manifest extends Link {
  readonly digest: string | undefined;
  readonly modified: Date | undefined;
  /** Tags of this image; empty if the library does not say. */
  readonly tags: readonly string[];
  /** Does the library have the bytes? Undefined if it does not say. */
  readonly uploaded: boolean | undefined;
  readonly id: string;
}

const HASH = /^sha256\.([0-9a-f]{64})$/;

/** `entity/collection/container`, or the last one or two of these; undefined for a name that no library can have. */
export function containerPath(
  name: Pick<ImageName, 'registry' | 'collection' | 'image'>,
): string | undefined {
  const parts = [...folderOf(name).split('/').filter(Boolean), name.image];
  const isValid = parts.length <= 3 && parts.every((part) => isPathComponent(part) && !/[:@?#%]/.test(part));
  return isValid ? parts.map(encodeURIComponent).join('/') : undefined;
}

/** The path of an image's description. `reference` is a tag, or `sha256.<hex>`. */
export function manifestPath(container: string, reference: string, arch: string): string {
  return `v1/images/${container}:${encodeURIComponent(reference)}?arch=${encodeURIComponent(arch)}`;
}

export async function resolveImage(
  api: Api,
  links: Links,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const container = containerPath(name);
  if (container === undefined) return undefined;
  const found = await findVersion(api, container, name, signal);
  if (found !== undefined) return toImage(links, name, found.path, found.manifest, signal);
  return name.version === undefined ? otherArchitecture(api, container, name, signal) : undefined;
}

export async function toImage(
  links: Links,
  name: ImageName,
  path: string,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const file = await links.find(path, manifest, signal);
  const { digest, modified = file.modified } = manifest;
  return { name, ...file, digest, modified, extension: 'sif' };
}

async function findVersion(api: Api, container: string, { tag, version }: ImageName, signal?: AbortSignal) {
  const find = async (reference: string) => {
    const path = manifestPath(container, reference, api.arch);
    const manifest = await fetchManifest(api, path, signal);
    return manifest?.uploaded === false ? undefined : manifest && { path, manifest };
  };
  const current = await find(tag);
  if (version === undefined) return current;
  const hash = version.replace(/^(sha256:)?/, 'sha256.');
  if (current?.manifest.version === hash) return current;
  // Singularity Registry Server creates an image when it is asked for an unknown hash.
  return HASH.test(hash) && (await api.version(signal)) !== undefined ? find(hash) : undefined;
}

/** A tag that the container has for other architectures only. */
async function otherArchitecture(
  api: Api,
  container: string,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  let data: unknown;
  try {
    data = await getData(api, `v1/containers/${container}`, { signal });
  } catch (error) {
    // The library has already said that there is no such image.
    if (isError(error, 'FORBIDDEN', 'UNAUTHORIZED', 'UNSUPPORTED')) return undefined;
    throw error;
  }
  const others = Object.entries(archTagsOf(data)).flatMap(([arch, tags]) =>
    isJsonObject(tags) && Object.hasOwn(tags, name.tag) ? [[arch, tags[name.tag]] as const] : [],
  );
  const [first] = others;
  if (first === undefined) return undefined;
  const names = others.map(([arch]) => arch).join(', ');
  const unpresentable = `an image for ${names}, not for ${api.arch}; choose one with --arch, such as --arch ${first[0]}`;
  return { name, size: 0, revision: String(first[1]), unpresentable, extension: 'sif', handle: {} };
}

/** Tags of a container by architecture. */
export function archTagsOf(container: unknown): JsonObject {
  const tags = isJsonObject(container) ? container.archTags : undefined;
  return isJsonObject(tags) ? tags : {};
}

/** The description at a path from {@link manifestPath}; undefined if the library says that there is no such image. */
export async function fetchManifest(
  api: Api,
  path: string,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  const data = await getData(api, path, { signal });
  return data === undefined ? undefined : parseManifest(api, path, data);
}

export function parseManifest({ base }: Api, path: string, data: unknown): Manifest {
  const version = textOf(data, 'hash', path);
  const { size, uploaded, tags, updatedAt, createdAt, id } = data as JsonObject;
  const hex = HASH.exec(version)?.[1];
  const url = new URL(path.replace('v1/images/', 'v1/imagefile/'), base);
  if (hex !== undefined) url.pathname = url.pathname.replace(/:[^/]*$/, `:sha256.${hex}`);
  const isStated = uploaded === true && Number.isSafeInteger(size) && Number(size) > 0;
  const dates = [updatedAt, createdAt].map((date) => parseDate(typeof date === 'string' ? date : undefined));
  return {
    url,
    version,
    size: isStated ? Number(size) : undefined,
    digest: hex && `sha256:${hex}`,
    // Go's zero time means none.
    modified: dates.find((date) => date !== undefined && date.getTime() > 0),
    tags: Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : [],
    uploaded: typeof uploaded === 'boolean' ? uploaded : undefined,
    id: String(id ?? ''),
  };
}
