/**
 * Makes the files of a cache entry, puts them in place, and opens them. Opening checks them without reading the
 * image, as others may have cut, emptied, replaced or removed them.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { BLOCK_SIZE, BlockMap, checksum } from './block-map.ts';

/** Files of an entry's folder. */
export const DATA_FILE = 'data';
export const MAP_FILE = 'blocks';
export const DESCRIPTION_FILE = 'entry.json';

/** Error codes of opening a file that is missing or is not a file. */
const NOT_A_FILE = ['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENXIO', 'ENODEV'];
/** Bytes that stat(2) counts as one of `st_blocks`. */
const STAT_BLOCK = 512;
/** A sample of an entry is compared before use if less than this part of its bytes is allocated on disk. */
const PLAUSIBLE = 0.5;
/** Blocks of such an entry that are compared with their checksums. */
const SAMPLE = 8;

export interface EntryDescription {
  readonly uri: string;
  readonly size: number;
  readonly digest?: string | undefined;
  readonly revision: string;
}

/** The open files of an entry. */
export interface EntryFiles {
  /** Of the data file. */
  readonly path: string;
  /** Of the data file, for reading and writing. */
  readonly fd: number;
  readonly map: BlockMap;
}

/** Moves a whole image file and its map into a folder that nobody has open. */
export function placeWhole(folder: string, file: string, map: string, description: EntryDescription): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  describe(folder, description);
  renameSync(map, join(folder, MAP_FILE));
  renameSync(file, join(folder, DATA_FILE));
}

function describe(folder: string, description: EntryDescription): void {
  writeFileSync(join(folder, DESCRIPTION_FILE), `${JSON.stringify(description)}\n`, { mode: 0o600 });
}

/** Makes the files of an entry without a block, in a new folder. */
export function createFiles(folder: string, description: EntryDescription): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  describe(folder, description);
  BlockMap.create(join(folder, MAP_FILE), description.size);
  const fd = openSync(join(folder, DATA_FILE), 'wx', 0o600);
  try {
    ftruncateSync(fd, description.size);
  } finally {
    closeSync(fd);
  }
}

/** Opens the files of an image of this size. Undefined if they are missing or damaged. */
export function openFiles(folder: string, size: number): EntryFiles | undefined {
  const path = join(folder, DATA_FILE);
  const fd = openFile(path);
  if (fd === undefined) return undefined;
  let map: BlockMap | undefined;
  try {
    map = openMap(join(folder, MAP_FILE), size);
    if (map !== undefined && isWhole(fd, map, size)) return { path, fd, map };
  } catch (error) {
    closeFiles(fd, map);
    throw error;
  }
  closeFiles(fd, map);
  return undefined;
}

export function closeFiles(fd: number, map: BlockMap | undefined): void {
  try {
    map?.close();
  } finally {
    closeSync(fd);
  }
}

function openFile(path: string): number | undefined {
  return orUndefined(() => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK));
}

function openMap(path: string, size: number): BlockMap | undefined {
  return orUndefined(() => BlockMap.open(path, size));
}

function orUndefined<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (error) {
    if (!NOT_A_FILE.includes(systemCode(error) ?? '')) throw error;
    return undefined;
  }
}

/** Does the data file fit its map? Does not read the whole file. A file that was cut loses the blocks behind the cut. */
function isWhole(fd: number, map: BlockMap, size: number): boolean {
  const stats = fstatSync(fd);
  if (!stats.isFile() || stats.size > size) return false;
  if (stats.size < size) {
    map.clear(Math.floor(stats.size / BLOCK_SIZE), map.blocks - 1);
    ftruncateSync(fd, size);
  }
  const expected = map.present * BLOCK_SIZE;
  // File systems that compress, or count late, report fewer blocks. Then a sample of the bytes decides.
  return stats.blocks * STAT_BLOCK >= expected * PLAUSIBLE || isSampleRight(fd, map, size);
}

function isSampleRight(fd: number, map: BlockMap, size: number): boolean {
  const present = rangeOf(0, map.blocks - 1).filter((block) => map.has(block));
  const step = Math.max(1, Math.floor(present.length / SAMPLE));
  return present
    .filter((_, index) => index % step === 0)
    .every((block) => {
      const length = Math.min(BLOCK_SIZE, size - block * BLOCK_SIZE);
      const bytes = Buffer.alloc(length);
      const got = readSync(fd, bytes, 0, length, block * BLOCK_SIZE);
      return got === length && map.matches(block, checksum(bytes));
    });
}

/** The numbers from `first` to `last`, both inclusive. */
export function rangeOf(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
