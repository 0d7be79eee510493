/**
 * Checks manifests, and tells which of them is one Singularity image. Formats: OCI image specification 1.1 (manifest, index,
 * descriptor), Docker image manifest version 2 schema 2, and the use that Apptainer's `oras://` makes of them: a single layer
 * that is the image file.
 */
import { SregistryError } from '../../base/errors.ts';
import { fitOf, formatArchitecture, formatPlatform, type Platform } from '../../base/platform.ts';
import { toStrings } from '../../image/attributes.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import { isDigest } from './reference.ts';

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';

/** `Accept` of a manifest request. */
export const MANIFEST_TYPES = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(', ');

/** The layer that Apptainer and Singularity push, and the empty object that they push as its configuration. */
export const SIF_LAYER = 'application/vnd.sylabs.sif.layer.v1.sif';
export const SIF_CONFIG = 'application/vnd.sylabs.sif.config.v1+json';
/** Layers of older versions; the typing error is theirs (Singularity 3.0 to 3.5, pkg/client/oras). */
const SIF_LAYERS = new Set([
  SIF_LAYER,
  'application/vnd.sylabs.sif.layer.tar',
  'appliciation/vnd.sylabs.sif.layer.tar',
]);
/** A bare file system image, as Stacker and others push it: Apptainer runs bare SquashFS. */
const SQUASHFS_LAYER = /^[^;]*[./+-]squashfs\b/;

/** The configuration and the layers of a container in layers, by Docker and by the OCI. Its layers may not be encrypted. */
const CONTAINER_CONFIG = /^application\/vnd\.(docker\.container\.image|oci\.image\.config)\.v1\+json$/;
const CONTAINER_LAYER =
  /^application\/vnd\.(docker\.image\.rootfs(\.foreign)?\.diff\.tar|oci\.image\.layer(\.nondistributable)?\.v1\.tar)([.+](gzip|zstd))?$/;

/**
 * The tag that a manifest was made for (OCI image specification, annotations.md). It gives each tag a manifest of its own, so
 * that a tag can be deleted by digest: CNCF Distribution before version 3 has no other way, and deletes every tag that shares the
 * manifest.
 */
export const REF_NAME = 'org.opencontainers.image.ref.name';
/** `org.opencontainers.image.created` (RFC 3339), OCI image specification, "Pre-Defined Annotation Keys". */
export const CREATED = 'org.opencontainers.image.created';
/** What a start of the image reads. */
export const TRACE = 'io.github.sregistry.trace';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly platform: Platform | undefined;
  /** What the manifest is that it describes, if that is no image. */
  readonly artifactType: string | undefined;
}

export interface Manifest {
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly config: Descriptor | undefined;
  readonly layers: readonly Descriptor[];
  /** The manifests of an index, one for each platform. Undefined unless this is an index. */
  readonly manifests: readonly Descriptor[] | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** The manifest that this one refers to. */
  readonly subject: Descriptor | undefined;
}

/** Parses a manifest or an index. Throws SERVICE if it is neither. `type` is the `Content-Type` of the reply. */
export function parseManifest(bytes: Buffer, type: string, what: string): Manifest {
  const malformed = (why: string, cause?: unknown) =>
    new SregistryError('SERVICE', `${what}: a malformed manifest: ${why}`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch (cause) {
    throw malformed('not JSON', cause);
  }
  if (!isJsonObject(value)) throw malformed('not an object');
  const descriptors = (list: unknown): Descriptor[] => {
    if (!Array.isArray(list)) throw malformed('layers or manifests are not a list');
    return list.map((item) => toDescriptor(item) ?? fail());
  };
  const fail = (): never => {
    throw malformed('a descriptor without media type, digest and size');
  };
  const { mediaType, artifactType, config, layers, manifests, subject } = value;
  return {
    mediaType: typeof mediaType === 'string' ? mediaType : (type.split(';')[0]?.trim() ?? ''),
    artifactType: toText(artifactType),
    config: toDescriptor(config),
    layers: descriptors(layers ?? []),
    manifests: manifests === undefined ? undefined : descriptors(manifests),
    annotations: toStrings(value.annotations),
    subject: toDescriptor(subject),
  };
}

/** The bytes of an image's manifest with these annotations added or replaced; those of any other manifest unchanged. */
export function bearing(
  manifest: Manifest & { readonly bytes: Buffer },
  annotations: Readonly<Record<string, string>>,
): Buffer {
  if (manifest.mediaType !== OCI_MANIFEST || imageLayer(manifest) === undefined) return manifest.bytes;
  const value = JSON.parse(manifest.bytes.toString());
  return Buffer.from(JSON.stringify({ ...value, annotations: { ...value.annotations, ...annotations } }));
}

function toDescriptor(value: unknown): Descriptor | undefined {
  if (!isJsonObject(value)) return undefined;
  const { mediaType, artifactType, digest, size, platform, annotations } = value;
  if (typeof mediaType !== 'string' || typeof digest !== 'string' || !isDigest(digest)) return undefined;
  if (!Number.isSafeInteger(size) || (size as number) < 0) return undefined;
  return {
    mediaType,
    digest,
    size: size as number,
    annotations: toStrings(annotations),
    platform: isJsonObject(platform) ? toPlatform(platform) : undefined,
    artifactType: toText(artifactType),
  };
}

const toText = (value: unknown) => (typeof value === 'string' ? value : undefined);

/** The layer that is the image file: the manifest's only one, of a type for image files. Undefined otherwise. */
export function imageLayer(manifest: Manifest): Descriptor | undefined {
  const [layer, ...others] = manifest.layers;
  if (layer === undefined || others.length > 0 || manifest.manifests !== undefined) return undefined;
  return SIF_LAYERS.has(layer.mediaType) || SQUASHFS_LAYER.test(layer.mediaType) ? layer : undefined;
}

/** The configuration of a container that is stored as layers; undefined if the manifest is of something else. */
export function containerConfig({ config, layers, manifests }: Manifest): Descriptor | undefined {
  if (manifests !== undefined || layers.length === 0 || !CONTAINER_CONFIG.test(config?.mediaType ?? ''))
    return undefined;
  return layers.every(({ mediaType }) => CONTAINER_LAYER.test(mediaType)) ? config : undefined;
}

function toPlatform({ os, architecture, variant }: JsonObject): Platform {
  return {
    os: String(os),
    architecture: String(architecture),
    ...(typeof variant === 'string' && { variant }),
  };
}

/** The entries of an index that a machine can run, best first. Those without a platform come last. */
export function fittingManifests(index: readonly Descriptor[], machine: Platform): Descriptor[] {
  const fitting = index.flatMap((entry) => {
    const fit = entry.platform === undefined ? Number.POSITIVE_INFINITY : fitOf(machine, entry.platform);
    return fit === undefined ? [] : [{ entry, fit }];
  });
  // Two infinities have no difference.
  return fitting.sort((a, b) => (a.fit === b.fit ? 0 : a.fit - b.fit)).map(({ entry }) => entry);
}

/** One sentence that says why a manifest is not an image for a machine, and what to do about it. */
export function whyUnpresentable(manifest: Manifest, machine: Platform): string {
  if (manifest.manifests !== undefined) return whyNoneFits(manifest.manifests, machine);
  const types = [...new Set(manifest.layers.map(({ mediaType }) => mediaType))];
  const shown = types.length === 0 ? 'no layer at all' : types.slice(0, 3).join(', ');
  if (
    CONTAINER_CONFIG.test(manifest.config?.mediaType ?? '') ||
    /\.image\.(rootfs|layer)\b/.test(types[0] ?? '')
  )
    return `a Docker/OCI image with ${count(manifest.layers.length)} (${shown}), of which one or the configuration has an unknown type`;
  const what = manifest.artifactType ?? manifest.config?.mediaType ?? manifest.mediaType;
  return `not a Singularity image but ${what} with ${count(manifest.layers.length)} (${shown})`;
}

function whyNoneFits(index: readonly Descriptor[], machine: Platform): string {
  const platforms = index.flatMap(({ platform }) => platform ?? []).filter(isPlatform);
  if (platforms.length > 0 && platforms.every((platform) => fitOf(machine, platform) === undefined))
    return otherPlatform(platforms, machine);
  const wanted = formatPlatform(machine);
  return `an index of ${index.length} manifests, none of them a container image for ${wanted}`;
}

/** The sentence for an image that exists for other platforms than the one it is wanted for. */
export function otherPlatform(platforms: readonly Platform[], machine: Platform): string {
  const names = [...new Set(platforms.map(formatPlatform))];
  const more = names.length > SHOWN_PLATFORMS ? ` and ${names.length - SHOWN_PLATFORMS} more` : '';
  const there = `an image for ${names.slice(0, SHOWN_PLATFORMS).join(', ')}${more}`;
  const offered = platforms.find(({ os }) => os === machine.os);
  const choice = offered && `; choose one with --arch, such as --arch ${formatArchitecture(offered)}`;
  return `${there}, not for ${formatPlatform(machine)}${choice ?? ''}`;
}

/** Platforms that a message names. */
const SHOWN_PLATFORMS = 16;

/** Attestations of an image have the platform `unknown`. Names that a registry makes up stay out of messages. */
function isPlatform(platform: Platform): boolean {
  const name = formatPlatform(platform);
  return platform.os !== 'unknown' && /^[a-z0-9._/-]{1,60}$/i.test(name);
}

function count(layers: number): string {
  return layers === 1 ? '1 layer' : `${layers} layers`;
}
