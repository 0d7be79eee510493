/**
 * Names of images in object stores: `<collection>/<image>:<tag>[@<version>].sif`, which is what the Python client writes (its
 * `storage`). Images that others put there with another extension, or without a tag, are images as well. Of several objects
 * for one image the first of `keysOf` counts.
 */
import { folderOf } from '../image/folder.ts';
import type { ImageName } from '../image/name.ts';
import { formatFileName, isPathComponent, parseFileName } from '../image/names.ts';

/** Bytes of UTF-8 that S3 and Cloud Storage allow, less what a side object's key adds. */
const LONGEST_KEY = 1024 - '.json'.length;
/** The Python client's extension first. */
const EXTENSIONS = ['sif', 'simg', 'img'] as const;

export interface KeyParts {
  readonly name: ImageName;
  readonly extension: string;
  /** Place among the keys of that image: 0 is the first. */
  readonly rank: number;
}

/** The keys an image may have, the one it is pushed to first; none where it can have none. */
export function keysOf(name: ImageName): string[] {
  const prefix = prefixOf(folderOf(name));
  if (prefix === undefined) return [];
  const tagged = EXTENSIONS.map((extension) => formatFileName(name, extension));
  const untagged = name.tag === 'latest' ? tagged.map((file) => file.replace(':latest', '')) : [];
  return [...tagged, ...untagged].filter((file) => isFileOf(file, name)).map((file) => prefix + file);
}

export function isTooLong(key: string): boolean {
  return Buffer.byteLength(key) > LONGEST_KEY;
}

/** What a key says, or undefined where it is no image's. */
export function parseKey(key: string): KeyParts | undefined {
  const slash = key.lastIndexOf('/');
  const collection = key.slice(0, Math.max(0, slash));
  const file = parseFileName(key.slice(slash + 1));
  if (file === undefined || slash === 0 || prefixOf(collection) === undefined) return undefined;
  const { image, tag, version, extension } = file;
  const name = { collection, image, tag, version };
  const rank = keysOf(name).indexOf(key);
  return rank < 0 ? undefined : { name, extension, rank };
}

/** What the keys in a collection begin with, or undefined where it cannot be one. */
export function prefixOf(collection: string): string | undefined {
  if (collection === '') return '';
  return collection.split('/').every(isVisible) ? `${collection}/` : undefined;
}

/** May a collection be called that? Hidden ones may not, as in a directory. */
export function isVisible(name: string): boolean {
  return isPathComponent(name) && !name.startsWith('.') && name.isWellFormed();
}

/** One text for all keys of an image. */
export function identityOf({ collection, image, tag, version }: ImageName): string {
  return JSON.stringify([collection, image, tag, version]);
}

function isFileOf(file: string, name: ImageName): boolean {
  const parsed = parseFileName(file);
  return (
    parsed !== undefined &&
    file.isWellFormed() &&
    parsed.image === name.image &&
    parsed.tag === name.tag &&
    parsed.version === name.version
  );
}
