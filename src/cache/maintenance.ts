/**
 * Repairs a cache folder in named steps, after cacache's `verify`: each step repairs what it can and returns what it
 * counted. `sregistry cache verify` runs all of them. Opening a cache, as a mount does, runs those that cost little.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { BLOCK_SIZE, BlockMap } from './block-map.ts';
import { DATA_FILE, DESCRIPTION_FILE, type EntryDescription, MAP_FILE } from './entry-files.ts';
import { keyOfGrowing, turnOf } from './growing-name.ts';
import { entryFolder } from './location.ts';
import { detach, emptyTrash, trash } from './trash.ts';

export interface CacheFolder {
  readonly root: string;
  readonly index: CacheIndex;
}

/** What a step did, by name. */
export type Counts = Readonly<Record<string, number>>;

export type Step = (folder: CacheFolder) => Promise<Counts>;

/** Prefix of the keys of wrong bytes. */
export const QUARANTINE = 'quarantine-';

/** Milliseconds without a change after which a half copied file belongs to a process that died. */
const ABANDONED = 60 * 60 * 1000;

/** Forgets what dead processes had open or were fetching, and counts the blocks that such fetches left. */
async function clearDead({ root, index }: CacheFolder): Promise<Counts> {
  const keys = index.claims.forgetDead();
  for (const key of new Set(keys)) {
    const found = await lookAt(root, key);
    if (found !== undefined) index.setBytes(key, found.bytes);
  }
  return { openings: index.opens.forgetDead(), claims: keys.length };
}

/**
 * Adds entries that are on disk and not in the index, for instance after its loss. Their bytes are compared when they are read.
 */
async function rebuildIndex({ root, index }: CacheFolder): Promise<Counts> {
  let entries = 0;
  for (const key of await keysOnDisk(root)) {
    if (index.entries.get(key) !== undefined) continue;
    const found = await lookAt(root, key);
    if (found === undefined) continue;
    const { uri, digest, size } = found.description;
    if (index.entries.restore({ key, uri, digest, size }, found.bytes, found.lastUsed)) entries += 1;
  }
  return { entries };
}

/** Rebuilds an empty index, and removes files that nobody could read: without an entry they would never be evicted. */
async function rebuildLostIndex(folder: CacheFolder): Promise<Counts> {
  if (folder.index.entries.list().length > 0) return { entries: 0, unknown: 0 };
  return { ...(await rebuildIndex(folder)), unknown: await sweepUnknown(folder) };
}

/** Sets the bytes of each entry that nobody has open to what its map says. */
async function countBlocks({ root, index }: CacheFolder): Promise<Counts> {
  let miscounted = 0;
  for (const { key, bytes } of index.entries.list()) {
    const found = await lookAt(root, key);
    if (found === undefined || found.bytes === bytes || index.opens.isOpen(key)) continue;
    index.setBytes(key, found.bytes);
    miscounted += 1;
  }
  return { miscounted };
}

/** Removes trash and files that no entry of the index names. */
async function sweep(folder: CacheFolder): Promise<Counts> {
  return { unknown: await sweepUnknown(folder), ...(await sweepRemains(folder)) };
}

async function sweepUnknown({ root, index }: CacheFolder): Promise<number> {
  let unknown = 0;
  for (const key of await keysOnDisk(root)) {
    if (index.entries.get(key) === undefined && index.removeUnknown(key, () => void detach(root, key)))
      unknown += 1;
  }
  return unknown;
}

async function sweepRemains(folder: CacheFolder): Promise<Counts> {
  return { temporary: await sweepIncoming(folder), trash: await emptyTrash(folder.root) };
}

/** Steps that cost little, for every opening of the cache. */
export const STARTING_STEPS: Readonly<Record<string, Step>> = {
  clearDead,
  rebuildLostIndex,
  'empty trash': sweepRemains,
};

/** Steps that read no image. The comparison follows them. */
export const VERIFYING_STEPS: Readonly<Record<string, Step>> = {
  clearDead,
  rebuildIndex,
  countBlocks,
  sweep,
};

/** Runs steps in their order. Returns what each counted, by its name. */
export async function maintain(
  folder: CacheFolder,
  steps: Readonly<Record<string, Step>>,
): Promise<Readonly<Record<string, Counts>>> {
  const counts: Record<string, Counts> = {};
  for (const [name, step] of Object.entries(steps)) counts[name] = await step(folder);
  return counts;
}

/** Folder of whole files on their way into the cache. */
export function incomingFolder(root: string): string {
  return join(root, 'incoming');
}

async function sweepIncoming({ root, index }: CacheFolder): Promise<number> {
  let swept = 0;
  for (const name of await namesIn(incomingFolder(root))) {
    const path = join(incomingFolder(root), name);
    if (!(await isAbandoned(name, path, index))) continue;
    await trash(root, path);
    swept += 1;
  }
  return swept;
}

async function isAbandoned(name: string, path: string, index: CacheIndex): Promise<boolean> {
  const key = keyOfGrowing(name);
  if (key !== undefined) return !index.claims.isClaimed(turnOf(key), 0);
  const stats = await stat(path).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs >= ABANDONED;
}

/** Names of the folders of entries, whatever is in them. */
async function keysOnDisk(root: string): Promise<string[]> {
  const images = join(root, 'images');
  const fans = await namesIn(images);
  const keys = await Promise.all(fans.map((fan) => namesIn(join(images, fan))));
  // Skip an entry in the wrong folder: nobody would find it by its key.
  return fans.flatMap((fan, index) => (keys[index] ?? []).filter((key) => key.slice(0, 2) === fan));
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

interface Found {
  readonly description: EntryDescription;
  /** On disk, in whole blocks. */
  readonly bytes: number;
  /** Milliseconds since the epoch. */
  readonly lastUsed: number;
}

/** What an entry's files say. Undefined if they are not files of an entry. */
async function lookAt(root: string, key: string): Promise<Found | undefined> {
  const folder = entryFolder(root, key);
  try {
    const description = asDescription(JSON.parse(await readFile(join(folder, DESCRIPTION_FILE), 'utf8')));
    const { size, mtimeMs } = await stat(join(folder, DATA_FILE));
    if (description === undefined || size > description.size) return undefined;
    const map = BlockMap.open(join(folder, MAP_FILE), description.size);
    map?.close();
    return map && { description, bytes: map.present * BLOCK_SIZE, lastUsed: Math.floor(mtimeMs) };
  } catch {
    return undefined;
  }
}

function asDescription(value: Partial<EntryDescription> | null): EntryDescription | undefined {
  const { uri, size, digest, revision } = value ?? {};
  if (typeof uri !== 'string' || typeof revision !== 'string') return undefined;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
  return { uri, size, digest: typeof digest === 'string' ? digest : undefined, revision };
}
