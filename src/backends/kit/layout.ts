/**
 * Where images lie in a tree of files or keys: `<collection...>/<image>:<tag>[@<version>].<ext>`, which is what the Python client
 * writes (its `storage`); a file without a tag is `latest`. Other people's programs write names as well, so a name that cannot be an
 * image's is passed over.
 *
 * One image may lie under several names, which differ in the extension and in the missing tag. The drivers of file trees take the
 * one written last; a {@link Layout} puts them in an order, of which the first counts.
 */
import { folderOf, type ImageName } from '../../image/name.ts';
import {
  type FileName,
  formatFileName,
  IMAGE_EXTENSIONS,
  isPathComponent,
  parseFileName,
  splitExtension,
} from '../../image/names.ts';
import type { ImageFile } from '../backend.ts';

/** Extension of an image whose file has none of its own. */
const DEFAULT_EXTENSION = 'sif';

/** Decoders put it in place of what is not UTF-8; such a name cannot be given back to the service. */
const REPLACEMENT = '\ufffd';

/** May a folder or file of that name be shown? Hidden ones may not: temporary files, `.git`. */
export function isVisible(name: string): boolean {
  return isPathComponent(name) && !name.startsWith('.') && name.isWellFormed() && !name.includes(REPLACEMENT);
}

/** The folders of a collection from the top down, or undefined where it cannot be one. */
export function foldersOf(collection: string): string[] | undefined {
  const folders = collection === '' ? [] : collection.split('/');
  return folders.every(isVisible) ? folders : undefined;
}

/** What a file's name says, or undefined where it is no image's. */
export function parseEntry(entry: string): FileName | undefined {
  return isVisible(entry) ? parseFileName(entry) : undefined;
}

/** File names an image may lie under, those with a tag first; none where its name cannot be that of a file. */
export function fileNamesOf(name: ImageName, extensions: readonly string[] = IMAGE_EXTENSIONS): string[] {
  const tagged = extensions.map((extension) => formatFileName(name, extension));
  const untagged = name.tag === 'latest' ? tagged.map((file) => file.replace(':latest', '')) : [];
  return [...tagged, ...untagged].filter((file) => isFileOf(file, name));
}

/** The file name of a new image, or undefined where its name cannot be that of a file. */
export function newFileName(name: ImageName, { path, extension }: ImageFile): string | undefined {
  const file = formatFileName(name, extension ?? splitExtension(path).extension ?? DEFAULT_EXTENSION);
  return isFileOf(file, name) ? file : undefined;
}

/** One text for all files of the same image in a folder. */
export function keyOf({ image, tag, version }: Pick<ImageName, 'image' | 'tag' | 'version'>): string {
  return JSON.stringify([image, tag, version]);
}

/** One text for all keys of the same image. */
export function identityOf(name: ImageName): string {
  return JSON.stringify([folderOf(name), keyOf(name)]);
}

function isFileOf(file: string, name: ImageName): boolean {
  const parsed = parseEntry(file);
  return parsed !== undefined && keyOf(parsed) === keyOf(name);
}

/** What a key says. */
export interface KeyParts {
  readonly name: ImageName;
  readonly extension: string;
  /** Place among the keys of that image: 0 is the first. */
  readonly rank: number;
}

/** How a service's keys are made of names. */
export interface Layout {
  /** The keys an image may have, the one it is pushed to first; none where it can have none. */
  keysOf(name: ImageName): string[];
  /** What a key says, or undefined where it is no image's. */
  parseKey(key: string): KeyParts | undefined;
  /** Does a tag without a file of its own stand for the newest of its versions? */
  readonly newestVersion: boolean;
}

export interface LayoutOptions {
  /** Extensions of images, the one of new images first. Default: the Python client's order. */
  readonly extensions?: readonly string[] | undefined;
  /** Bytes of UTF-8 that a key may have. Default: no limit. */
  readonly longest?: number | undefined;
  /** Default false. */
  readonly newestVersion?: boolean | undefined;
}

const STORE_EXTENSIONS = ['sif', 'simg', 'img'];

export function createLayout(options: LayoutOptions = {}): Layout {
  const {
    extensions = STORE_EXTENSIONS,
    longest = Number.POSITIVE_INFINITY,
    newestVersion = false,
  } = options;
  const keysOf = (name: ImageName) => {
    const prefix = prefixOf(folderOf(name));
    if (prefix === undefined) return [];
    const keys = fileNamesOf(name, extensions).map((file) => prefix + file);
    return keys.filter((key) => Buffer.byteLength(key) <= longest);
  };
  const parseKey = (key: string): KeyParts | undefined => {
    const slash = key.lastIndexOf('/');
    const file = parseEntry(key.slice(slash + 1));
    if (file === undefined || slash === 0) return undefined;
    const { image, tag, version, extension } = file;
    const name = { collection: key.slice(0, Math.max(0, slash)), image, tag, version };
    const rank = keysOf(name).indexOf(key);
    return rank < 0 ? undefined : { name, extension, rank };
  };
  return { keysOf, parseKey, newestVersion };
}

/** What the keys in a collection begin with, or undefined where it cannot be one. */
export function prefixOf(collection: string): string | undefined {
  return foldersOf(collection)
    ?.map((folder) => `${folder}/`)
    .join('');
}
