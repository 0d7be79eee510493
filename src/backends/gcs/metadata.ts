/**
 * What is kept beside an image's bytes, as custom metadata of its object: what the Python client writes there and finds images by
 * (`type`, `uri`, the parts of the name, the sha256 as `version`), and the annotations, each under its own key.
 *
 * Metadata may be 8 KiB in all, and should be fit for HTTP headers, which other clients get it in. Annotations that do
 * not fit are in a side object `<object>.json`, which names the image it belongs to by its sha256: one that was left
 * behind by another image is ignored.
 */
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';

type Strings = Readonly<Record<string, string>>;

/** Keys that are ours or the Python client's, and no annotations. */
const OWN = new Set(
  'type client registry collection image tag version url uri storage original sha256 sha256sum side'.split(
    ' ',
  ),
);
/** "Quotas and limits", Cloud Storage: bytes of all keys and values. */
const METADATA_MAX = 8192;
/** A token of RFC 9110 section 5.6.2: what the name of a header may be. */
const KEY = /^[\w!#$%&'*+.^`|~-]+$/;
/** What its value may be: visible ASCII with blanks inside. */
const VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
const DIGEST = /^[0-9a-f]{64}$/;

export const sideNameOf = (object: string) => `${object}.json`;

export interface StoredMetadata {
  readonly metadata: Strings;
  /** Content of the side object, where one is needed. */
  readonly side: string | undefined;
}

/** How the metadata of an image is stored. `object` is its object's name, `digest` `sha256:<hex>` if known. */
export function storeMetadata(
  name: ImageName,
  object: string,
  digest: string | undefined,
  annotations: Strings = {},
): StoredMetadata {
  const sha256 = digest?.replace(/^sha256:/, '');
  const own = Object.entries({
    type: 'container',
    client: 'sregistry',
    collection: name.collection,
    image: name.image,
    tag: name.tag,
    version: name.version ?? sha256,
    uri: formatImageName({ ...name, version: name.version ?? sha256 }),
    storage: object,
    sha256,
  }).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '');
  const room = METADATA_MAX - sizeOf([...own, ['side', 'json']]);
  const [fitting, rest] = divide(Object.entries(annotations), room);
  if (rest.length === 0) return { metadata: Object.fromEntries([...own, ...fitting]), side: undefined };
  return {
    metadata: Object.fromEntries([...own, ['side', 'json'], ...fitting]),
    side: JSON.stringify({ sha256, annotations: Object.fromEntries(rest) }),
  };
}

type Entry = [string, string];

/** The annotations that can stand in metadata, as far as there is room, and the others. */
function divide(entries: readonly Entry[], room: number): [Entry[], Entry[]] {
  let left = room;
  const fits = entries.map((entry) => {
    const [key, value] = entry;
    if (OWN.has(key) || !KEY.test(key) || !VALUE.test(value) || sizeOf([entry]) > left) return false;
    left -= sizeOf([entry]);
    return true;
  });
  return [entries.filter((_, i) => fits[i]), entries.filter((_, i) => !fits[i])];
}

const sizeOf = (entries: readonly (readonly [string, string])[]) =>
  entries.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);

export interface Metadata {
  /** `sha256:<hex>` of the image, where it is stated. */
  readonly digest: string | undefined;
  /** Those in the metadata. */
  readonly annotations: Strings;
  /** Are there more in the side object? */
  readonly hasSide: boolean;
}

/** What metadata says. The Python client's `version` is the sha256 of what it pushed. */
export function readMetadata(metadata: Strings): Metadata {
  const { type, version, sha256, sha256sum, side } = metadata;
  const stated = sha256 ?? sha256sum ?? (type === 'container' ? version : undefined);
  return {
    digest: stated !== undefined && DIGEST.test(stated) ? `sha256:${stated}` : undefined,
    annotations: Object.fromEntries(Object.entries(metadata).filter(([key]) => !OWN.has(key))),
    hasSide: side === 'json',
  };
}

/** The annotations in a side object, if it is that of the image with this digest. */
export function readSide(text: string, digest: string | undefined): Strings {
  try {
    const side = JSON.parse(text) as { sha256?: unknown; annotations?: unknown } | null;
    if (digest === undefined || side?.sha256 !== digest.replace(/^sha256:/, '')) return {};
    const entries = Object.entries((side.annotations ?? {}) as Record<string, unknown>);
    return Object.fromEntries(entries.filter((entry): entry is Entry => typeof entry[1] === 'string'));
  } catch {
    return {};
  }
}
