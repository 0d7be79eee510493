/** The worker thread of compress.ts: blocks in, blocks as they are to be stored out, in the same order. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CompressedBlock, compressBlock, type PackCompressor } from './compress.ts';

parentPort?.on('message', (bytes: Uint8Array<ArrayBuffer>) => {
  const packed = compressBlock(workerData as PackCompressor, bytes);
  // A buffer of its own can be handed over without a copy.
  const stored = packed === undefined ? bytes : new Uint8Array(packed);
  const answer: CompressedBlock = { bytes: stored, isCompressed: packed !== undefined };
  parentPort?.postMessage(answer, [stored.buffer]);
});
