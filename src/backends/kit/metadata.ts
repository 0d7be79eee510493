/**
 * What is kept beside an image's bytes: what the Python client writes there, the digest, and the annotations. As much as fits goes
 * with the file itself. If some annotations do not fit, all of them are also in a sidecar `<key>.json`, which names the image it
 * belongs to by its sha256: a sidecar that another image left behind is ignored. Where files carry no metadata, the sidecar also
 * names the file's revision, as nothing else tells the digest.
 */
import { toStrings } from '../../image/attributes.ts';
import type { ImageName } from '../../image/name.ts';
import type { Strings } from './store.ts';

export const sidecarOf = (key: string) => `${key}.json`;

/** Bytes of a sidecar that are read: annotations are at most 64 KiB before they are escaped. */
export const SIDECAR_MAX = 1024 * 1024;

export interface MetadataLimits {
  /** Bytes of all names and values. */
  readonly bytes: number;
  /**
   * `each`: an annotation has a name of its own, which keeps its case. `json`: all are one value `annotations`, in ASCII, for
   * services that fold names.
   */
  readonly shape: 'each' | 'json';
  /** Names and values of the driver's own, which others find images by. */
  readonly own: (image: OwnFacts) => Readonly<Record<string, string | undefined>>;
  /** Names of metadata that are no annotations, besides `sha256` and `side`. */
  readonly reserved: readonly string[];
}

export interface OwnFacts {
  readonly name: ImageName;
  readonly key: string;
  readonly size: number;
  /** In hexadecimal, if known. */
  readonly sha256: string | undefined;
}

export interface CarriedMetadata {
  /** With the file. */
  readonly metadata: Strings;
  /** Must the annotations be in a sidecar? */
  readonly sidecar: boolean;
}

export interface Metadata {
  /** `sha256:<hex>` of the image, where it is stated. */
  readonly digest: string | undefined;
  readonly annotations: Strings;
  /** Are there more of them in the sidecar? */
  readonly sidecar: boolean;
}

/** Names that are no annotations. */
function reservedIn({ shape, reserved }: MetadataLimits): ReadonlySet<string> {
  return new Set([...reserved, 'sha256', 'side', ...(shape === 'json' ? ['annotations'] : [])]);
}

/** A token of RFC 9110 section 5.6.2: what the name of a header may be. */
const NAME = /^[\w!#$%&'*+.^`|~-]+$/;
/** What its value may be: visible ASCII with blanks inside. */
const VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
const HEX = /^[0-9a-f]{64}$/;

type Entry = readonly [string, string];

/** How the metadata of an image are stored; without limits everything is in the sidecar. */
export function carryMetadata(
  limits: MetadataLimits | undefined,
  facts: OwnFacts,
  annotations: Strings = {},
): CarriedMetadata {
  if (limits === undefined) return { metadata: {}, sidecar: true };
  const own = Object.entries({ ...limits.own(facts), sha256: facts.sha256 }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
  );
  const room = limits.bytes - sizeOf([...own, ['side', 'json']]);
  const all = Object.entries(annotations);
  const isOwn = reservedIn(limits);
  const fitting =
    limits.shape === 'each'
      ? thatFit(all, room, (entry) => (canStand(entry, isOwn) ? sizeOf([entry]) : Number.POSITIVE_INFINITY))
      : thatFit(
          all,
          room - 'annotations{}'.length,
          (entry) => toAscii(entry).length - '{}'.length + ','.length,
        );
  const sidecar = fitting.length < all.length;
  const carried = limits.shape === 'each' ? fitting : asOne(fitting);
  return {
    metadata: Object.fromEntries([...own, ...(sidecar ? [['side', 'json'] as const] : []), ...carried]),
    sidecar,
  };
}

/** The annotations for which there is room, in their order; one too long does not keep out the next. */
function thatFit(
  entries: readonly Entry[],
  room: number,
  measure: (entry: Entry) => number,
): readonly Entry[] {
  let left = room;
  return entries.filter((entry) => {
    const size = measure(entry);
    if (size > left) return false;
    left -= size;
    return true;
  });
}

const canStand = ([name, value]: Entry, isOwn: ReadonlySet<string>) =>
  !isOwn.has(name) && NAME.test(name) && VALUE.test(value);

function asOne(entries: readonly Entry[]): readonly Entry[] {
  return entries.length === 0 ? [] : [['annotations', toAscii(...entries)]];
}

/** JSON that can stand in a header: everything beyond ASCII as `\uXXXX`. */
function toAscii(...entries: Entry[]): string {
  return JSON.stringify(Object.fromEntries(entries)).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const sizeOf = (entries: readonly Entry[]) =>
  entries.reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);

/** What a file's metadata say. What others wrote there counts as annotations. */
export function readMetadata(limits: MetadataLimits, metadata: Strings): Metadata {
  const isOwn = reservedIn(limits);
  const others = Object.entries(metadata).filter(([name]) => !isOwn.has(name));
  const packed = limits.shape === 'json' ? toStrings(tryParse(metadata.annotations)) : {};
  // The Python client's `version` is the sha256 of what it pushed; others wrote `sha256sum`.
  const { sha256, sha256sum, type, version } = metadata;
  const stated = sha256 ?? sha256sum ?? (type === 'container' ? version : undefined);
  return {
    digest: stated !== undefined && HEX.test(stated) ? `sha256:${stated}` : undefined,
    annotations: { ...Object.fromEntries(others), ...packed },
    sidecar: metadata.side === 'json',
  };
}

export interface Sidecar {
  readonly digest: string | undefined;
  readonly annotations: Strings;
}

/** The content of a sidecar. `revision`: of the file, where files carry no metadata. */
export function writeSidecar({ digest, annotations }: Sidecar, revision?: string): Buffer {
  return Buffer.from(JSON.stringify({ sha256: digest?.replace(/^sha256:/, ''), revision, annotations }));
}

/** What a sidecar says, if it is that of the image with this digest, or of this revision where the digest is not known. */
export function readSidecar(
  bytes: Buffer,
  { digest, revision }: { digest?: string | undefined; revision: string },
): Sidecar {
  const none: Sidecar = { digest, annotations: {} };
  if (bytes.length > SIDECAR_MAX) return none;
  const side = toRecord(tryParse(bytes.toString()));
  const sha256 =
    typeof side.sha256 === 'string' && HEX.test(side.sha256) ? `sha256:${side.sha256}` : undefined;
  const isOfImage = digest === undefined ? side.revision === revision : sha256 === digest;
  return isOfImage ? { digest: digest ?? sha256, annotations: toStrings(side.annotations) } : none;
}

function toRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function tryParse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
