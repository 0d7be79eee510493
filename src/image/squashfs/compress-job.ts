/** The job of compress.ts. */
import { moved } from '../../base/moved.ts';
import { type CompressedBlock, type CompressWork, compressBlock } from './compress.ts';

export function run({ compressor, bytes }: CompressWork): CompressedBlock {
  const packed = compressBlock(compressor, bytes);
  // Only a buffer of its own can move.
  const stored = packed === undefined ? bytes : new Uint8Array(packed);
  return moved({ bytes: stored, isCompressed: packed !== undefined }, stored.buffer);
}
