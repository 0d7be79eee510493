/** Resolves a tag or digest to a remote image: fetches the manifest, checks its digest, and finds the image's layer in it. */
import { parseDate } from '../../base/date.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { fitOf } from '../../base/platform.ts';
import { type LayerBlob, type Layered, parseLayered } from '../../image/layers/image.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../../image/remote.ts';
import { LAYOUT } from '../../image/squashfs/describe.ts';
import { unreadableHandle } from '../kit/stale.ts';
import { digestOf, type FetchedManifest, fetchManifest, MANIFEST_MAX } from './fetch-manifest.ts';
import {
  CREATED,
  containerConfig,
  type Descriptor,
  fittingManifests,
  imageLayer,
  type Manifest,
  otherPlatform,
  REF_NAME,
  TRACE,
  whyUnpresentable,
} from './manifest.ts';
import { isDigest, isRepository, isTag } from './reference.ts';
import { pathOf, type Repository, referenceOf } from './registries.ts';
import { sociIndexOf } from './soci.ts';

/** What the driver needs to read an image again. */
export interface Handle extends Record<string, unknown> {
  readonly registry: string;
  readonly repository: string;
  /** Digest of what the tag points to: a manifest, or an index. */
  readonly manifest: string;
  /** Digest of the image file; absent if the manifest has none. */
  readonly layer?: string;
}

/** Most entries of an index to search for a Singularity image. */
const CANDIDATES_MAX = 8;

/**
 * The image of a name. A version is the digest of the manifest, as in registries, or of the image file, as in our own catalog. A
 * file is found by its digest only while the tag means that file.
 */
export async function resolveImage(
  repository: Repository,
  name: ImageName,
): Promise<RemoteImage | undefined> {
  const { tag, version } = name;
  const { http, signal } = repository;
  // The distribution API has no address for such a name, so no registry holds it.
  if (!isRepository(repository.path) || (version !== undefined && !isDigest(version))) return undefined;
  const resolve = async (reference: string): Promise<RemoteImage | undefined> => {
    const top = await fetchManifest(repository, reference);
    if (top === undefined) return undefined;
    const found = await findImage(repository, top);
    const layered = found && (await layeredImage(repository, name, top, found));
    return layered ?? toRemoteImage(repository, name, top, found);
  };
  const tagged = isTag(tag) ? await resolve(tag) : undefined;
  if (version === undefined || tagged?.digest === version || tagged?.handle.manifest === version)
    return tagged;
  // Asked for a blob as a manifest, CNCF Distribution reads the whole blob into memory and answers 500.
  const blob = await http.head(pathOf(repository, `blobs/${version}`), { allow: [404], signal });
  return blob.status === 404 ? resolve(version) : undefined;
}

/**
 * The manifest that may hold an image: `top` itself, or the first of an index that fits the architecture and holds an image file,
 * else the first that holds a container in layers.
 */
async function findImage(repository: Repository, top: FetchedManifest): Promise<FetchedManifest | undefined> {
  if (top.manifests === undefined) return top;
  let layered: FetchedManifest | undefined;
  for (const entry of fittingManifests(top.manifests, repository.platform).slice(0, CANDIDATES_MAX)) {
    const manifest = await fetchManifest(repository, entry.digest);
    if (manifest === undefined) continue;
    if (imageLayer(manifest) !== undefined) return manifest;
    if (containerConfig(manifest) !== undefined) layered ??= manifest;
  }
  return layered;
}

/** The image of a container in layers; undefined if `found` is something else, or its configuration does not fit it. */
async function layeredImage(
  repository: Repository,
  name: ImageName,
  top: FetchedManifest,
  found: FetchedManifest,
): Promise<RemoteImage | undefined> {
  const config = containerConfig(found);
  if (config === undefined) return undefined;
  const otherwise = (unpresentable: string): RemoteImage => ({
    ...toRemoteImage(repository, name, top, undefined),
    unpresentable,
  });
  if (config.size > MANIFEST_MAX) return otherwise('a container image whose configuration is too large');
  const { host, http, holders, path, platform, signal } = repository;
  const reply = await http.get(pathOf(repository, `blobs/${config.digest}`), { allow: [404], signal });
  if (reply.status === 404) return otherwise('a container image whose registry lacks its configuration');
  if (digestOf(reply.bytes, config.digest) !== config.digest)
    throw new SregistryError('CORRUPT', `${referenceOf(repository, name.tag)}: its configuration is damaged`);
  let layered: Layered;
  try {
    layered = parseLayered(reply.bytes, found.layers);
  } catch (error) {
    if (!isError(error, 'NOT_AN_IMAGE')) throw error;
    return otherwise(`a container image, but ${error.message}`);
  }
  // An index says which of its images is for what, and a digest is a choice.
  const isChosen = top !== found || name.version !== undefined;
  if (!isChosen && layered.architecture !== '' && fitOf(platform, layered) === undefined)
    return otherwise(otherPlatform([layered], platform));
  const index = await sociIndexOf(repository, found);
  const withZtoc = (layer: LayerBlob): LayerBlob => {
    const ztoc = index?.ztocs.get(layer.digest);
    return ztoc === undefined ? layer : { ...layer, ztoc };
  };
  layered = { ...layered, layers: layered.layers.map(withZtoc) };
  for (const { digest } of found.layers) holders.set(digest, path);
  const annotations = { ...layered.config.Labels, ...top.annotations, ...found.annotations };
  delete annotations[REF_NAME];
  const created = layered.created === 0 ? undefined : new Date(layered.created * 1000);
  return {
    name,
    size: estimate(found.layers),
    modified: created ?? parseDate(annotations[CREATED]),
    // What an index tells is kept for this revision, and nobody who does not use the index may get it.
    revision: `${found.digest}+${LAYOUT}${index === undefined ? '' : `+${index.digest}`}`,
    origin: host,
    annotations,
    layered,
    handle: { registry: host, repository: path, manifest: top.digest } satisfies Handle,
  };
}

/** Bytes of an image in layers, before they are known: compressed archives grow to about two and a half times their size. */
function estimate(layers: readonly Descriptor[]): number {
  const isPlain = (mediaType: string) => mediaType.endsWith('.tar');
  const sizes = layers.map(({ size, mediaType }) => (isPlain(mediaType) ? size : size * 2.5));
  const sum = sizes.reduce((total, size) => total + size, 0);
  // A manifest can claim any size, and the kernel takes none beyond 2^63.
  return Math.min(Math.ceil(sum), Number.MAX_SAFE_INTEGER);
}

/** `found` is the manifest that may hold the image: `top`, or one that the index `top` points to. */
export function toRemoteImage(
  { host, holders, path, platform }: Repository,
  name: ImageName,
  top: FetchedManifest,
  found: Manifest | undefined = top,
): RemoteImage {
  const layer = imageLayer(found);
  const {
    [REF_NAME]: _,
    [TRACE]: trace,
    ...annotations
  } = {
    ...top.annotations,
    ...(layer && found.annotations),
    ...layer?.annotations,
  };
  const handle: Handle = { registry: host, repository: path, manifest: top.digest };
  const common = { name, modified: parseDate(annotations[CREATED]), origin: host, annotations };
  if (layer === undefined) {
    const unpresentable = whyUnpresentable(top, platform);
    return { ...common, size: top.bytes.length, revision: top.digest, unpresentable, handle };
  }
  holders.set(layer.digest, path);
  return {
    ...common,
    size: layer.size,
    digest: layer.digest.startsWith('sha256:') ? layer.digest : undefined,
    ...(trace !== undefined && { trace }),
    revision: layer.digest,
    handle: { ...handle, layer: layer.digest },
  };
}

/**
 * The handle of an image. It may come from the catalog, so this checks it before it becomes part of a path. STALE if it cannot be read.
 */
export function handleOf({ handle }: Pick<RemoteImage, 'handle'>): Handle {
  const { registry, repository, manifest, layer } = handle;
  const isValid =
    typeof registry === 'string' &&
    typeof repository === 'string' &&
    isRepository(repository) &&
    [manifest, layer ?? manifest].every((digest) => typeof digest === 'string' && isDigest(digest));
  if (!isValid) throw unreadableHandle(typeof registry === 'string' ? registry : 'a registry');
  return handle as Handle;
}
