/**
 * What is kept beside an image's bytes. S3 allows 2 KiB of metadata with an object, as headers: there stand what the Python
 * client writes, the digest, and those annotations that fit, as JSON. If some do not fit, all of them are also in a side object
 * `<key>.json`, which names the digest of the image it belongs to: one that was left behind by another image is ignored.
 */
import type { Headers } from '../http.ts';

const PREFIX = 'x-amz-meta-';

/** Names of metadata that are ours or the Python client's, and no annotations. */
const OWN = new Set(['sizemb', 'client', 'type', 'sha256', 'annotations', 'side']);

/**
 * Bytes of annotations in the headers. 2 KiB is for names and values together ("Working with object metadata", Amazon S3
 * User Guide); the other names and values take about 150.
 */
const INLINE_MAX = 1800;

export interface Metadata {
  /** `sha256:<hex>` of the image, where it is stated. */
  readonly digest: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Are there more of them in the side object? */
  readonly hasSide: boolean;
}

export interface StoredMetadata {
  readonly headers: Headers;
  /** Content of the side object, where one is needed. */
  readonly side: string | undefined;
}

export const sideKeyOf = (key: string) => `${key}.json`;

/** How the metadata of an image of `size` bytes is stored. */
export function storeMetadata(
  size: number,
  digest: string,
  annotations: Readonly<Record<string, string>> = {},
): StoredMetadata {
  const fitting = fittingEntries(annotations);
  const isWhole = fitting.length === Object.keys(annotations).length;
  const headers = {
    sizemb: String(Math.floor(size / 1024 / 1024)),
    client: 'sregistry',
    type: 'container',
    sha256: digest.replace(/^sha256:/, ''),
    ...(fitting.length > 0 && { annotations: toAscii(Object.fromEntries(fitting)) }),
    ...(!isWhole && { side: 'json' }),
  };
  return {
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [PREFIX + name, value])),
    side: isWhole ? undefined : JSON.stringify({ sha256: headers.sha256, annotations }),
  };
}

/** The annotations that fit, in their order; one too long does not keep out the next. */
function fittingEntries(annotations: Readonly<Record<string, string>>): [string, string][] {
  let left = INLINE_MAX - '{}'.length;
  return Object.entries(annotations).filter((entry) => {
    const length = toAscii(Object.fromEntries([entry])).length - '{}'.length + ','.length;
    if (length > left) return false;
    left -= length;
    return true;
  });
}

/** JSON that can stand in a header: everything beyond ASCII as `\uXXXX`. */
function toAscii(value: object): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** The metadata in the headers of an answer. What others wrote there counts as annotations. */
export function readMetadata(headers: Headers): Metadata {
  const given = Object.entries(headers)
    .filter(([name]) => name.startsWith(PREFIX))
    .map(([name, value]) => [name.slice(PREFIX.length), value] as const);
  const own = Object.fromEntries(given.filter(([name]) => OWN.has(name)));
  return {
    digest: digestOf(own.sha256) ?? checksumOf(headers),
    annotations: {
      ...Object.fromEntries(given.filter(([name]) => !OWN.has(name))),
      ...toStrings(tryParse(own.annotations)),
    },
    hasSide: own.side === 'json',
  };
}

/** The annotations of a side object, if it is that of the image with this digest. */
export function readSide(text: string, digest: string | undefined): Record<string, string> {
  const side = tryParse(text) as { sha256?: unknown; annotations?: unknown } | undefined;
  if (digest === undefined || side?.sha256 !== digest.replace(/^sha256:/, '')) return {};
  return toStrings(side.annotations);
}

/** The user's part of the headers of an answer, as a request to store the same has it. */
export function copyMetadata(headers: Headers): Headers {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith(PREFIX)));
}

function digestOf(hex: string | undefined): string | undefined {
  return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? `sha256:${hex}` : undefined;
}

/** Amazon's own checksum, unless it is one of the checksums of parts (which ends in `-<parts>`). */
function checksumOf(headers: Headers): string | undefined {
  const checksum = headers['x-amz-checksum-sha256'] ?? '';
  const isWhole = /^[A-Za-z0-9+/]{43}=$/.test(checksum) && headers['x-amz-checksum-type'] !== 'COMPOSITE';
  if (!isWhole) return undefined;
  return digestOf(Buffer.from(checksum, 'base64').toString('hex'));
}

function toStrings(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {};
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return Object.fromEntries(entries);
}

function tryParse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
