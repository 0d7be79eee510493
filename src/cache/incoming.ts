/** Brings whole files to the cache's file system, with the map of their blocks, so that a rename puts them in place. */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BlockMap } from './block-map.ts';
import { BlockSums } from './block-sums.ts';
import { incomingFolder } from './maintenance.ts';

/** Bytes read at once for the checksums. */
const CHUNK = 1024 * 1024;

export interface Incoming extends AsyncDisposable {
  /** The file itself where it is on the same file system, else a copy of it. */
  readonly data: string;
  /** File of its block map. */
  readonly map: string;
  readonly blocks: number;
}

/**
 * Prepares a file of `size` bytes. Undefined if it has another size. Disposing of the result removes the map and the copy,
 * unless they were moved away. The file itself stays.
 * @param known checksums of its blocks, from whoever wrote it. Default: the file is read for them.
 */
export async function takeIn(
  root: string,
  file: string,
  size: number,
  known?: readonly number[],
): Promise<Incoming | undefined> {
  const found = await stat(file);
  if (!found.isFile() || found.size !== size) return undefined;
  const folder = incomingFolder(root);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const id = join(folder, randomUUID());
  const map = `${id}.blocks`;
  const isNear = (await stat(folder)).dev === found.dev;
  const data = isNear ? file : `${id}.data`;
  const clear = async () => {
    await rm(map, { force: true });
    if (!isNear) await rm(data, { force: true });
  };
  try {
    if (!isNear) await copyFile(file, data);
    const sums = known ?? (await checksumsOf(data, size));
    if (sums !== undefined) {
      BlockMap.createWhole(map, size, sums);
      return { data, map, blocks: sums.length, [Symbol.asyncDispose]: clear };
    }
  } catch (error) {
    await clear();
    throw error;
  }
  await clear();
  return undefined;
}

/** The checksum of each block. Undefined if the file has another size by now. */
async function checksumsOf(path: string, size: number): Promise<readonly number[] | undefined> {
  await using file = await open(path, 'r');
  const buffer = Buffer.allocUnsafe(CHUNK);
  const sums = new BlockSums();
  for (let offset = 0; offset < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK, size - offset), offset);
    if (bytesRead === 0) return undefined;
    sums.update(buffer.subarray(0, bytesRead));
    offset += bytesRead;
  }
  return sums.finish();
}
