/**
 * The metadata of an image: what the Python client writes, the digest, and the annotations. The file itself carries as much as fits.
 * If some annotations do not fit, a sidecar `<key>.json` holds all of them. The sidecar names its image by sha256, and the file names the
 * annotations by their hash, so the sidecar of an earlier image, or of another push of the same bytes, is ignored. If a service's
 * files carry no metadata, the file can name neither its digest nor a hash. The sidecar then names the file's revision, which no two
 * pushes share; only if the service itself states the digest, the sidecar counts for the same bytes after a change of the revision.
 *
 * A sidecar that is written before its file also keeps, as `before`, what it said of the file that is still there: both files have
 * their annotations at all times, even if the push then fails.
 */
import { createHash } from 'node:crypto';
import { toStrings } from '../../image/attributes.ts';
import type { ImageName } from '../../image/name.ts';

type Strings = Readonly<Record<string, string>>;

export const sidecarOf = (key: string) => `${key}.json`;

/** Largest sidecar to read, in bytes. Annotations have at most 64 KiB before escaping. */
export const SIDECAR_MAX = 1024 * 1024;

export interface MetadataLimits {
  /** Limit for all names and values together, in bytes. */
  readonly bytes: number;
  /** Limits of single entries: bytes of a name with its value, and the number of entries. Default: none. */
  readonly entries?: { readonly bytes: number; readonly max: number } | undefined;
  /**
   * `each`: one entry per annotation, if the service keeps the case of names. `json`: one entry `annotations` with all of them as
   * ASCII JSON, if the service changes the case of names.
   */
  readonly shape: 'each' | 'json';
  /** The driver's own entries, by which other clients find images. */
  readonly own: (image: OwnFacts) => Readonly<Record<string, string | undefined>>;
  /** Names of entries that are not annotations, besides `sha256` and `side`. */
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
  /** The entries to store with the file. */
  readonly metadata: Strings;
  /** Is a sidecar needed for the annotations? */
  readonly sidecar: boolean;
}

export interface Metadata {
  /** `sha256:<hex>` of the image, if the metadata state it. */
  readonly digest: string | undefined;
  readonly annotations: Strings;
  /** Does the sidecar hold more annotations? If so, their hash, if the file names it. */
  readonly sidecar: boolean | string;
}

/** Names of entries that are not annotations. */
function reservedIn({ shape, reserved }: MetadataLimits): ReadonlySet<string> {
  return new Set([...reserved, 'sha256', 'side', ...(shape === 'json' ? ['annotations'] : [])]);
}

/** A token (RFC 9110 section 5.6.2): the valid names of headers. */
const NAME = /^[\w!#$%&'*+.^`|~-]+$/;
/** Valid values of headers: visible ASCII, with spaces inside only. */
const VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
const HEX = /^[0-9a-f]{64}$/;

/** Value of the entry `side`, before the hash of the annotations. Files of earlier versions have no hash. */
const SIDE = 'json:';
/** Hexadecimal digits of the hash. */
const HASH_LENGTH = 32;

type Entry = readonly [string, string];

/** Names annotations, whatever their order. */
function hashOf(annotations: Strings): string {
  const sorted = Object.entries(annotations).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, HASH_LENGTH);
}

const UNLIMITED = { bytes: Number.POSITIVE_INFINITY, max: Number.POSITIVE_INFINITY };

/** Splits an image's metadata between the file and the sidecar. Without limits, everything goes into the sidecar. */
export function carryMetadata(
  limits: MetadataLimits | undefined,
  facts: OwnFacts,
  annotations: Strings = {},
): CarriedMetadata {
  if (limits === undefined) return { metadata: {}, sidecar: true };
  const { bytes: longest, max } = limits.entries ?? UNLIMITED;
  const own = Object.entries({ ...limits.own(facts), sha256: facts.sha256 }).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && entry[1] !== '' && sizeOf([[entry[0], entry[1]]]) <= longest,
  );
  const side: Entry = ['side', `${SIDE}${hashOf(annotations)}`];
  const room = limits.bytes - sizeOf([...own, side]);
  const all = Object.entries(annotations);
  const isOwn = reservedIn(limits);
  const fitting =
    limits.shape === 'each'
      ? thatFit(all, room, (entry) => {
          const size = canStand(entry, isOwn) ? sizeOf([entry]) : Number.POSITIVE_INFINITY;
          return size <= longest ? size : Number.POSITIVE_INFINITY;
        }).slice(0, max - own.length - 1)
      : thatFit(
          all,
          room - 'annotations{}'.length,
          (entry) => toAscii(entry).length - '{}'.length + ','.length,
        );
  const sidecar = fitting.length < all.length;
  const carried = limits.shape === 'each' ? fitting : asOne(fitting);
  return {
    metadata: Object.fromEntries([...own, ...(sidecar ? [side] : []), ...carried]),
    sidecar,
  };
}

/** The annotations that fit, in their order. One that is too long is left out; later ones may still fit. */
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

/** JSON for a header: everything beyond ASCII is written as `\uXXXX`. */
function toAscii(...entries: Entry[]): string {
  return JSON.stringify(Object.fromEntries(entries)).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const sizeOf = (entries: readonly Entry[]) =>
  entries.reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);

/** Reads a file's metadata. Entries of other programs count as annotations. */
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
    sidecar: metadata.side?.startsWith(SIDE) ? metadata.side.slice(SIDE.length) : metadata.side === 'json',
  };
}

export interface Sidecar {
  readonly digest: string | undefined;
  readonly annotations: Strings;
}

export interface SidecarOptions {
  /** The file's revision, if files carry no metadata. */
  readonly revision?: string | undefined;
  /** What the sidecar says of the file that is there until the new one is. */
  readonly before?: Sidecar | undefined;
}

/** The content of a sidecar. */
export function writeSidecar(own: Sidecar, { revision, before }: SidecarOptions = {}): Buffer {
  return Buffer.from(JSON.stringify({ ...toEntry(own, revision), before: before && toEntry(before) }));
}

function toEntry({ digest, annotations }: Sidecar, revision?: string) {
  return { sha256: digest?.replace(/^sha256:/, ''), revision, annotations };
}

/** The digest of an image, and its revision, which counts if the digest is unknown. */
export interface SidecarOwner {
  readonly digest?: string | undefined;
  readonly revision: string;
  /** The hash of the annotations, if the file names it. */
  readonly hash?: string | undefined;
}

/**
 * What a sidecar says of an image. Ignores it unless it names this digest or, if the digest is unknown, this revision, and has the
 * annotations of this hash.
 */
export function readSidecar(bytes: Buffer, owner: SidecarOwner): Sidecar {
  const own = parseSidecar(bytes);
  return (
    [own, toRecord(own.before)]
      .map((entry) => entryOf(entry, owner))
      .find((found) => found !== undefined) ?? {
      digest: owner.digest,
      annotations: {},
    }
  );
}

/** Was a sidecar last written for this image? */
export function isSidecarOf(bytes: Buffer, owner: SidecarOwner): boolean {
  return entryOf(parseSidecar(bytes), owner) !== undefined;
}

function parseSidecar(bytes: Buffer): Record<string, unknown> {
  return bytes.length > SIDECAR_MAX ? {} : toRecord(tryParse(bytes.toString()));
}

/** What an entry says, if it is about this image. */
function entryOf(
  entry: Record<string, unknown>,
  { digest, revision, hash }: SidecarOwner,
): Sidecar | undefined {
  const sha256 =
    typeof entry.sha256 === 'string' && HEX.test(entry.sha256) ? `sha256:${entry.sha256}` : undefined;
  const isOfImage = digest === undefined ? entry.revision === revision : sha256 === digest;
  if (!isOfImage) return undefined;
  const annotations = toStrings(entry.annotations);
  return hash === undefined || hash === hashOf(annotations)
    ? { digest: digest ?? sha256, annotations }
    : undefined;
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
