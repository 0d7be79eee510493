/** Reads a layer's table of contents in another thread: one of a hundred thousand files takes a second. */
import { zstdDecompressSync } from 'node:zlib';
import { entryModule } from '../../base/package.ts';
import { runJob } from '../../base/threads.ts';
import { ChunkTable, type Packing } from './chunks.ts';
import type { Toc } from './toc-place.ts';

/** What the job is given. */
export interface TocWork {
  readonly toc: Toc;
  readonly packing: Packing;
  /** Names the layer in errors. */
  readonly name: string;
}

/** What a table tells, in the forms in which it is kept. */
export interface IndexedToc {
  /** See packed-entries.ts. */
  readonly entries: Uint8Array;
  /** For {@link unpackChunks}. */
  readonly chunks: Uint8Array;
}

const JOB = entryModule('image/layers/index-toc-job');

/** As {@link parseToc}. */
export function indexToc(work: TocWork, signal: AbortSignal): Promise<IndexedToc | undefined> {
  return runJob<TocWork, IndexedToc | undefined>(JOB, work, { signal });
}

/** The chunks of {@link IndexedToc}; undefined if the bytes are of another form. */
export function unpackChunks(packed: Uint8Array): ChunkTable | undefined {
  try {
    return ChunkTable.fromBytes(zstdDecompressSync(packed));
  } catch {
    return undefined;
  }
}
