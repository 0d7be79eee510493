/**
 * Where images lie in a tree of files, for the drivers whose services keep nothing else:
 * `<collection...>/<image>:<tag>[@<version>].<ext>`; a file without a tag is `latest`. Names come from other people's
 * programs as well, so what cannot be a name is not there.
 */
import type { ImageName } from '../image/name.ts';
import {
  type FileName,
  formatFileName,
  IMAGE_EXTENSIONS,
  isPathComponent,
  parseFileName,
  splitExtension,
} from '../image/names.ts';
import type { ImageFile } from './backend.ts';

/** Extension of an image whose file has none of its own. */
const DEFAULT_EXTENSION = 'sif';

/** Node decodes a name that is not UTF-8 with this in it; such a name cannot be given back to the file system. */
const REPLACEMENT = '\ufffd';

/** May a folder or file of that name be shown? Hidden ones may not: temporary files, `.git`. */
export function isVisible(name: string): boolean {
  return isPathComponent(name) && !name.startsWith('.') && !name.includes(REPLACEMENT);
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

/** File names an image may lie under; none where its name cannot be that of a file. */
export function fileNamesOf(name: ImageName): string[] {
  const tagged = IMAGE_EXTENSIONS.map((extension) => formatFileName(name, extension));
  const untagged = name.tag === 'latest' ? tagged.map((file) => file.replace(':latest', '')) : [];
  return [...tagged, ...untagged].filter((file) => isFileOf(file, name));
}

/** The file name of a new image, or undefined where its name cannot be that of a file. */
export function newFileName(name: ImageName, { path, extension }: ImageFile): string | undefined {
  const file = formatFileName(name, extension ?? splitExtension(path).extension ?? DEFAULT_EXTENSION);
  return isFileOf(file, name) ? file : undefined;
}

/** One text for all files of the same image. */
export function keyOf({ image, tag, version }: Pick<ImageName, 'image' | 'tag' | 'version'>): string {
  return JSON.stringify([image, tag, version]);
}

function isFileOf(file: string, name: ImageName): boolean {
  const parsed = parseEntry(file);
  return parsed !== undefined && keyOf(parsed) === keyOf(name);
}
