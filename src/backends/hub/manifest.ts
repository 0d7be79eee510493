/**
 * Manifests of Singularity Hub: `GET <base>/container/<collection>/<image>:<tag>[@<version>]` returns
 *
 *     { "name": "vsoch/hello-world", "tag": "latest", "version": "<md5 of the file>", "commit": "<git commit>",
 *       "image": "https://storage.../...simg", "metrics": { "inspect": ... }, ... }
 *
 * as Apptainer (`internal/pkg/client/shub`) and the Python client read it. The link to the image file may expire after some
 * minutes.
 */
import { INSPECT_KEY } from '../../image/annotations.ts';
import { toAttributes } from '../../image/attributes.ts';
import type { ImageName } from '../../image/name.ts';
import { isPathComponent } from '../../image/names.ts';
import { type Link, parseLink } from '../kit/manifest-link.ts';
import { type Api, getJson } from './api.ts';

/** A parsed manifest. Its version is an MD5 digest, else a commit. */
export interface Manifest extends Link {
  /** All versions by which a name may request it: MD5 digest and commit. */
  readonly versions: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** OCI image specification, "Pre-Defined Annotation Keys": the commit that the image was built from. */
const COMMIT_KEY = 'org.opencontainers.image.revision';
/** Statuses for an image that does not exist, or no longer exists. */
const ABSENT = [404, 410];
/** Largest `inspect` output to keep, in bytes. */
const INSPECTION_MAX = 64 * 1024;

/** `vsoch/hello-world:latest[@version]`, or undefined if the name cannot exist in the service. */
export function pathOf({ registry, collection, image, tag, version }: ImageName): string | undefined {
  const components = [registry, ...collection.split('/'), image].filter((part) => part !== undefined);
  const parts = [...components, tag, ...(version === undefined ? [] : [version])];
  if (!parts.every(isPathComponent)) return undefined;
  const suffix = version === undefined ? '' : `@${encodeURIComponent(version)}`;
  return `${components.map(encodeURIComponent).join('/')}:${encodeURIComponent(tag)}${suffix}`;
}

/** The manifest at a path from {@link pathOf}; undefined if the service says that there is no such image. */
export async function fetchManifest(
  api: Api,
  path: string,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  const { status, value } = await getJson(api, `container/${path}`, ABSENT, signal);
  return ABSENT.includes(status) ? undefined : parseManifest(api, path, value);
}

function parseManifest(api: Api, path: string, value: unknown): Manifest {
  const given = toRecord(value);
  const url = parseLink(given.image, api.base, path);
  const versions = [given.version, given.commit].filter((text) => typeof text === 'string').filter(Boolean);
  return { url, version: versions[0] ?? '', versions, annotations: annotationsOf(given) };
}

function annotationsOf(given: Record<string, unknown>): Record<string, string> {
  const metrics = toRecord(given.metrics);
  const inspection = [metrics.inspect, metrics].map((candidate) => toRecord(toRecord(candidate).data));
  const attributes = toAttributes(inspection.find((data) => data.attributes !== undefined)?.attributes);
  const text = JSON.stringify(attributes);
  const isKept = text !== '{}' && Buffer.byteLength(text) <= INSPECTION_MAX;
  return {
    ...(typeof given.commit === 'string' && given.commit !== '' ? { [COMMIT_KEY]: given.commit } : {}),
    ...(isKept ? { ...attributes.labels, [INSPECT_KEY]: text } : {}),
  };
}

/** The value as an object; some servers send it as a string of JSON. */
function toRecord(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  if (typeof value !== 'string') return {};
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
