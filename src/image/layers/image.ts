/** What a registry says of an image that it has as layers, checked, as plain JSON for the catalog. */
import { parseDate } from '../../base/date.ts';
import { toStrings } from '../attributes.ts';
import { malformed } from '../binary.ts';
import type { ContainerConfig } from './scripts.ts';
import { type TocPlace, tocPlaceOf } from './toc-place.ts';

/** A layer as its registry has it: a tar archive, most often compressed. */
export interface LayerBlob {
  /** Of the blob: `sha256:<hex>` or `sha512:<hex>`. */
  readonly digest: string;
  /** Bytes of the blob. */
  readonly size: number;
  readonly mediaType: string;
  /** `sha256:<hex>` of the archive. */
  readonly diffId: string;
  /** Where its table of contents is, by which it is read in parts. */
  readonly toc?: TocPlace;
  /** The ztoc of SOCI, by which it is read in parts. */
  readonly ztoc?: ZtocBlob;
}

/** A ztoc as a blob of the repository: its digest, and its bytes. */
export type ZtocBlob = Pick<LayerBlob, 'digest' | 'size'>;

/** A layer as a manifest describes it. */
export interface LayerDescriptor extends Pick<LayerBlob, 'digest' | 'size' | 'mediaType'> {
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Layered {
  /** From the lowest. */
  readonly layers: readonly LayerBlob[];
  /** `linux` */
  readonly os: string;
  /** As Go names it: `amd64`. */
  readonly architecture: string;
  /** Of the architecture: `v7`. */
  readonly variant?: string | undefined;
  /** Seconds since 1970; 0 if the image does not say when it was made. */
  readonly created: number;
  readonly config: ContainerConfig;
}

const DIFF_ID = /^sha256:[0-9a-f]{64}$/;
/** The most layers that anybody makes is 127: a disk's overlay takes no more. */
const MAX_LAYERS = 1000;

/** What the configuration of an image (OCI image specification, "Image Configuration") says. @throws {SregistryError} NOT_AN_IMAGE. */
export function parseLayered(bytes: Buffer, blobs: readonly LayerDescriptor[]): Layered {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw malformed('its configuration is not JSON');
  }
  const { os, architecture, variant, created, config, rootfs } = record(value);
  const { diff_ids: ids } = record(rootfs);
  if (blobs.length > MAX_LAYERS)
    throw malformed(`it has ${blobs.length} layers, more than the ${MAX_LAYERS} that an image may have`);
  if (!Array.isArray(ids) || ids.length !== blobs.length)
    throw malformed('its configuration names other layers than its manifest');
  const layers = blobs.map(({ digest, size, mediaType, annotations }, i) => {
    const diffId: unknown = ids[i];
    if (typeof diffId !== 'string' || !DIFF_ID.test(diffId))
      throw malformed('its configuration has no sha256 of each layer');
    const toc = tocPlaceOf(annotations, mediaType, size);
    return { digest, size, mediaType, diffId, ...(toc && { toc }) };
  });
  const given = record(config);
  const date = typeof created === 'string' ? parseDate(created)?.getTime() : undefined;
  return {
    layers,
    os: text(os) ?? 'linux',
    architecture: text(architecture) ?? '',
    variant: text(variant),
    created: Math.max(0, Math.floor((date ?? 0) / 1000)),
    config: {
      User: text(given.User),
      ExposedPorts: names(given.ExposedPorts),
      Env: texts(given.Env),
      Entrypoint: texts(given.Entrypoint),
      Cmd: texts(given.Cmd),
      Volumes: names(given.Volumes),
      WorkingDir: text(given.WorkingDir),
      Labels: toStrings(given.Labels),
      StopSignal: text(given.StopSignal),
    },
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A set of names, as Go writes it: an object with empty values. */
function names(value: unknown): Record<string, object> | undefined {
  const keys = Object.keys(record(value)).sort();
  return keys.length === 0 ? undefined : Object.fromEntries(keys.map((key) => [key, {}]));
}
