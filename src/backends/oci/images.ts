/** From a tag or digest to a remote image: fetch the manifest, check it against its digest, find the image's layer in it. */
import { createHash } from 'node:crypto';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../../image/remote.ts';
import { isDigest, isRepository, isTag } from './grammar.ts';
import {
  type Descriptor,
  fittingManifests,
  imageLayer,
  MANIFEST_TYPES,
  type Manifest,
  parseManifest,
  REF_NAME,
  whyUnpresentable,
} from './manifest.ts';
import type { Place } from './reference.ts';
import type { Registry } from './registries.ts';

/** What the driver needs to read an image again. */
export interface Handle extends Record<string, unknown> {
  readonly registry: string;
  readonly repository: string;
  /** Digest of what the tag points to: a manifest, or an index. */
  readonly manifest: string;
  /** Digest of the image file; absent where there is none. */
  readonly layer?: string;
}

export interface FetchedManifest extends Manifest {
  readonly bytes: Buffer;
  /** Computed from the bytes. */
  readonly digest: string;
}

/** Bytes of a manifest; the specification asks registries to take at least, and clients to expect at most, 4 MiB. */
const MANIFEST_MAX = 4 * 1024 * 1024;
/** Entries of an index that are looked into for a Singularity image. */
const CANDIDATES_MAX = 8;

/**
 * The image of a name. A version pins its bytes: the digest of the manifest, as registries have it, or of the image file itself,
 * as our own catalog has it; the latter is found as long as the tag still means that file.
 */
export async function resolveImage(
  registry: Registry,
  { repository }: Place,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const { tag, version } = name;
  // No registry can hold what the distribution API has no address for.
  if (!isRepository(repository) || (version !== undefined && !isDigest(version))) return undefined;
  const tagged = isTag(tag) ? await resolveReference(registry, repository, name, tag, signal) : undefined;
  if (version === undefined || tagged?.digest === version || tagged?.handle.manifest === version)
    return tagged;
  // CNCF Distribution reads a whole blob into memory to see that it is no manifest, and answers 500.
  if (await isBlob(registry, repository, version, signal)) return undefined;
  return resolveReference(registry, repository, name, version, signal);
}

async function isBlob(
  registry: Registry,
  repository: string,
  digest: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const reply = await registry.http.head(`/v2/${repository}/blobs/${digest}`, { allow: [404], signal });
  return reply.status !== 404;
}

async function resolveReference(
  registry: Registry,
  repository: string,
  name: ImageName,
  reference: string,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const top = await fetchManifest(registry, repository, reference, signal);
  if (top === undefined) return undefined;
  const found = await findImage(registry, repository, top, signal);
  return toRemoteImage(registry, repository, name, top, found);
}

/** The manifest behind a tag or digest, undefined where the registry says that there is none. */
export async function fetchManifest(
  registry: Registry,
  repository: string,
  reference: string,
  signal?: AbortSignal,
): Promise<FetchedManifest | undefined> {
  const path = `/v2/${repository}/manifests/${reference}`;
  const what = `${registry.host}/${repository}:${reference}`;
  const reply = await registry.http.get(path, { headers: { accept: MANIFEST_TYPES }, allow: [404], signal });
  if (reply.status === 404) {
    if (/html/i.test(reply.headers['content-type'] ?? ''))
      throw new SregistryError(
        'SERVICE',
        `${what}: ${reply.url.origin} answers with a web page: not a registry`,
      );
    return undefined;
  }
  if (reply.bytes.length > MANIFEST_MAX)
    throw new SregistryError('SERVICE', `${what}: a manifest of ${reply.bytes.length} bytes`);
  const stated = isDigest(reference) ? reference : reply.headers['docker-content-digest'];
  const digest = digestOf(reply.bytes, stated);
  const manifest = parseManifest(reply.bytes, reply.headers['content-type'] ?? '', what);
  // Signed manifests of Docker's schema 1 have a digest of a part of their bytes; they are no images for us anyway.
  const isSigned = manifest.mediaType.endsWith('prettyjws');
  if (stated !== undefined && stated !== digest && !isSigned)
    throw new SregistryError(
      'CORRUPT',
      `${what}: the manifest does not have its digest ${stated.slice(0, 200)}`,
    );
  return { ...manifest, bytes: reply.bytes, digest };
}

/** The digest of `bytes`, by the algorithm of `like`. */
export function digestOf(bytes: Buffer, like = 'sha256:'): string {
  const algorithm = like.startsWith('sha512:') ? 'sha512' : 'sha256';
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** A manifest with an image's layer: the one given, or the first fitting one of an index. */
async function findImage(
  registry: Registry,
  repository: string,
  top: FetchedManifest,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  if (top.manifests === undefined) return imageLayer(top) && top;
  for (const entry of fittingManifests(top.manifests).slice(0, CANDIDATES_MAX)) {
    const manifest = await fetchManifest(registry, repository, entry.digest, signal);
    if (manifest !== undefined && imageLayer(manifest) !== undefined) return manifest;
  }
  return undefined;
}

/** `found` is the manifest with the image, which an index `top` only points to. */
export function toRemoteImage(
  registry: Registry,
  repository: string,
  name: ImageName,
  top: FetchedManifest,
  found: Manifest | undefined,
): RemoteImage {
  const layer = found && imageLayer(found);
  const { [REF_NAME]: _, ...annotations } = {
    ...top.annotations,
    ...found?.annotations,
    ...layer?.annotations,
  };
  const handle: Handle = { registry: registry.host, repository, manifest: top.digest };
  const common = { name, modified: createdOf(annotations), origin: registry.host, annotations };
  if (layer === undefined) {
    return {
      ...common,
      size: top.bytes.length,
      revision: top.digest,
      unpresentable: whyUnpresentable(top),
      handle,
    };
  }
  registry.holders.set(layer.digest, repository);
  return {
    ...common,
    size: layer.size,
    digest: sha256Of(layer),
    revision: layer.digest,
    handle: { ...handle, layer: layer.digest },
  };
}

function sha256Of({ digest }: Descriptor): string | undefined {
  return digest.startsWith('sha256:') ? digest : undefined;
}

/** `org.opencontainers.image.created` (RFC 3339), OCI image specification, "Pre-Defined Annotation Keys". */
export const CREATED = 'org.opencontainers.image.created';

function createdOf(annotations: Readonly<Record<string, string>>): Date | undefined {
  const date = new Date(annotations[CREATED] ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** The handle of an image, which may come out of the catalog: checked again before it becomes part of a path. */
export function handleOf({ handle }: Pick<RemoteImage, 'handle'>): Handle {
  const { registry, repository, manifest, layer } = handle;
  const isValid =
    typeof registry === 'string' &&
    typeof repository === 'string' &&
    isRepository(repository) &&
    [manifest, layer ?? manifest].every((digest) => typeof digest === 'string' && isDigest(digest));
  if (!isValid) throw new SregistryError('INTERNAL', 'the handle of an OCI image is damaged');
  return handle as Handle;
}

/** STALE for what has been deleted since it was resolved; other errors as they are. */
export function goneIsStale(error: unknown, what: string): unknown {
  if (!isError(error, 'NOT_FOUND')) return error;
  return new SregistryError('STALE', `${what}: deleted from the registry since it was looked up`, {
    cause: error,
  });
}
