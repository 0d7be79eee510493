/**
 * Verifies a whole cache. The steps of maintenance.ts come first and read no image. Then every whole image is compared
 * with its digest. In an image that is not whole, or has no digest, each block is compared with its checksum.
 */
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import { Entry } from './entry.ts';
import { entryFolder } from './location.ts';
import { type CacheFolder, type Counts, maintain, QUARANTINE, VERIFYING_STEPS } from './maintenance.ts';
import { detach } from './trash.ts';

export interface Verification {
  readonly uri: string;
  /** `unverifiable` where its service states no digest, or the image is not whole. */
  readonly result: 'right' | 'wrong' | 'unverifiable';
}

/** What each step counted, by its name. */
export type VerifyCounts = Readonly<Record<string, Counts>>;

interface Compared {
  readonly result: Verification['result'];
  /** Blocks that the disk had lost; they are fetched again when they are read. */
  readonly lostBlocks: number;
  /** Was it compared for the first time? */
  readonly isFirst: boolean;
}

/** Verifies everything. Yields one result an image, then returns what the steps counted. Removes wrong images. */
export async function* verifyCache(
  folder: CacheFolder,
  signal?: AbortSignal,
): AsyncGenerator<Verification, VerifyCounts> {
  const counts = await maintain(folder, VERIFYING_STEPS);
  const compare = { right: 0, wrong: 0, unverifiable: 0, quarantined: 0, firstCompared: 0, lostBlocks: 0 };
  for (const row of folder.index.entries.list()) {
    signal?.throwIfAborted();
    if (row.key.startsWith(QUARANTINE)) {
      compare.quarantined += 1;
      continue;
    }
    const { result, lostBlocks, isFirst } = await compareImage(folder, row, signal);
    compare[result] += 1;
    compare.lostBlocks += lostBlocks;
    if (isFirst) compare.firstCompared += 1;
    yield { uri: row.uri, result };
  }
  return { ...counts, compare };
}

async function compareImage(
  folder: CacheFolder,
  row: CacheEntryRow,
  signal = new AbortController().signal,
): Promise<Compared> {
  const { root, index } = folder;
  const { key, size, digest, complete } = row;
  const entry = Entry.openExisting(entryFolder(root, key), size);
  if (entry === undefined) {
    const isRemoved = index.evictLost(key, () => void detach(root, key));
    return { result: isRemoved && complete === 1 ? 'wrong' : 'unverifiable', lostBlocks: 0, isFirst: false };
  }
  try {
    if (!entry.map.complete || digest === null) {
      const lostBlocks = await dropLost(folder, row, entry, signal);
      return {
        result: complete === 1 && lostBlocks > 0 ? 'wrong' : 'unverifiable',
        lostBlocks,
        isFirst: false,
      };
    }
    const stamp = entry.stamp();
    if ((await entry.sha256(signal)) === digest) {
      if (row.stamp !== stamp) index.markComplete(key, stamp, () => entry.isCurrent());
      return { result: 'right', lostBlocks: 0, isFirst: complete === 0 };
    }
    if (entry.isCurrent()) index.discard(key, () => void detach(root, key));
    return { result: 'wrong', lostBlocks: 0, isFirst: complete === 0 };
  } finally {
    await entry.close();
  }
}

async function dropLost(
  { index }: CacheFolder,
  { key, complete }: CacheEntryRow,
  entry: Entry,
  signal: AbortSignal,
): Promise<number> {
  const lost = await entry.check(signal);
  if (lost.length > 0) entry.forget(lost);
  if (lost.length > 0 || (complete === 1 && !entry.map.complete)) index.recount(key, entry);
  return lost.length;
}
