/**
 * Names of image files: `<collection...>/<image>:<tag>[@<version>].<ext>`, as the Python client writes them (its `storage`). A file
 * without a tag is `latest`. Other programs write files there as well, so a file name that is not an image's is skipped.
 *
 * An image may have several files, which differ in the extension or lack the tag. The drivers of file trees use the file written
 * last. A {@link Layout} orders the names instead, and the first one that exists is used.
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

/** Extension of an image whose source file has none. */
const DEFAULT_EXTENSION = 'sif';

/** Decoders replace invalid UTF-8 by this character. The original name is lost, so the service would not find it. */
const REPLACEMENT = '\ufffd';

/** May a folder or file of this name be shown? Hidden ones may not: temporary files, `.git`. */
export function isVisible(name: string): boolean {
  return isPathComponent(name) && !name.startsWith('.') && name.isWellFormed() && !name.includes(REPLACEMENT);
}

/**
 * The folders of a collection from the top down; undefined if the name is invalid. `hidden`: also those that begin with a dot, which
 * can be named although no listing shows them.
 */
export function foldersOf(collection: string, hidden = false): string[] | undefined {
  const folders = collection === '' ? [] : collection.split('/');
  const isAllowed = (folder: string) =>
    isVisible(folder) ||
    (hidden && folder.startsWith('.') && isPathComponent(folder) && isVisible(`x${folder}`));
  return folders.every(isAllowed) ? folders : undefined;
}

/** The parts of a file name; undefined if it is not an image's. */
export function parseEntry(entry: string): FileName | undefined {
  return isVisible(entry) ? parseFileName(entry) : undefined;
}

/** The file names that an image may have, those with a tag first; empty if the image's name cannot be a file name. */
export function fileNamesOf(name: ImageName, extensions: readonly string[] = IMAGE_EXTENSIONS): string[] {
  const tagged = extensions.map((extension) => formatFileName(name, extension));
  const untagged = name.tag === 'latest' ? tagged.map((file) => file.replace(':latest', '')) : [];
  return [...tagged, ...untagged].filter((file) => isFileOf(file, name));
}

/** The file name of a new image; undefined if the image's name cannot be a file name. */
export function newFileName(name: ImageName, { path, extension }: ImageFile): string | undefined {
  const file = formatFileName(name, extension ?? splitExtension(path).extension ?? DEFAULT_EXTENSION);
  return isFileOf(file, name) ? file : undefined;
}

/** The same text for all files of one image in a folder. */
export function keyOf({ image, tag, version }: Pick<ImageName, 'image' | 'tag' | 'version'>): string {
  return JSON.stringify([image, tag, version]);
}

/** The same text for all keys of one image. */
export function identityOf(name: ImageName): string {
  return JSON.stringify([folderOf(name), keyOf(name)]);
}

function isFileOf(file: string, name: ImageName): boolean {
  const parsed = parseEntry(file);
  return parsed !== undefined && keyOf(parsed) === keyOf(name);
}

/** The parts of a key. */
export interface KeyParts {
  readonly name: ImageName;
  readonly extension: string;
  /** Position among the image's keys; 0 is the first. */
  readonly rank: number;
}

/** Converts image names to a service's keys and back. */
export interface Layout {
  /** The keys that an image may have; a new image gets the first. Empty if the name cannot be a key. */
  keysOf(name: ImageName): string[];
  /** The parts of a key; undefined if it is not an image's. */
  parseKey(key: string): KeyParts | undefined;
  /** The prefix of all keys in a collection; undefined if the name is invalid. */
  prefixOf(collection: string): string | undefined;
  /** Does a tag without a file of its own stand for its newest version? */
  readonly newestVersion: boolean;
}

export interface LayoutOptions {
  /** Extensions of images, the one of new images first. Default: the Python client's order. */
  readonly extensions?: readonly string[] | undefined;
  /** Longest key in bytes of UTF-8. Default: no limit. */
  readonly longest?: number | undefined;
  /** Default false. */
  readonly newestVersion?: boolean | undefined;
  /** May names have folders that begin with a dot? Default false. */
  readonly hiddenFolders?: boolean | undefined;
}

const STORE_EXTENSIONS = ['sif', 'simg', 'img'];

export function createLayout(options: LayoutOptions = {}): Layout {
  const {
    extensions = STORE_EXTENSIONS,
    longest = Number.POSITIVE_INFINITY,
    newestVersion = false,
    hiddenFolders = false,
  } = options;
  const prefixOf = (collection: string) => prefixIn(foldersOf(collection, hiddenFolders));
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
  return { keysOf, parseKey, prefixOf, newestVersion };
}

function prefixIn(folders: readonly string[] | undefined): string | undefined {
  return folders?.map((folder) => `${folder}/`).join('');
}
