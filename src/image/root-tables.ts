/** Where an image has what mounting its root file system reads first. */
import type { ByteRange } from '../base/extents.ts';
import { launchLength, MAX_LAUNCH } from './format.ts';
import { openImage } from './image.ts';
import { primaryPartition } from './sif.ts';
import type { ByteSource } from './source.ts';
import { parseSuperblock, SUPERBLOCK_SIZE } from './squashfs/superblock.ts';

/**
 * The tables of the SquashFS that is the container's root, in bytes from the beginning of the image: inodes, directories, and where
 * the fragments are. Undefined if the root is something else. What the header says is not compared with anything.
 * @throws {SregistryError} NOT_AN_IMAGE if it is not an image, CORRUPT if it is not whole; the source's errors.
 */
export async function rootTables(from: ByteSource): Promise<ByteRange | undefined> {
  const { kind, sif, source } = await openImage(from);
  if (kind === 'ext3' || kind === 'singularity2-ext3') return undefined;
  const root = sif && primaryPartition(sif);
  if (sif !== undefined && root?.partition?.fileSystem !== 'squashfs') return undefined;
  const start = root?.offset ?? launchLength(await source.read(0, MAX_LAUNCH));
  const { inodeTable, bytesUsed } = parseSuperblock(await source.read(start, SUPERBLOCK_SIZE));
  return { start: start + inodeTable, end: start + bytesUsed };
}
