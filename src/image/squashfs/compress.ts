/** Compression of blocks, in a worker thread each (compress-worker.ts): a mount must answer meanwhile. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { constants, deflateSync, zstdCompressSync } from 'node:zlib';
import { entryModule } from '../../base/package.ts';

/** The compressors that images are packed with: what Node has. Every Singularity reads gzip; zstd needs Linux 4.14. */
export type PackCompressor = 'gzip' | 'zstd';

/** Programs and their files take 1 % more than at level 9, in a quarter of the time. */
const GZIP_LEVEL = 5;

const COMPRESS: Record<PackCompressor, (bytes: Uint8Array) => Uint8Array> = {
  gzip: (bytes) => deflateSync(bytes, { level: GZIP_LEVEL }),
  zstd: (bytes) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 6 } }),
};

/** The compressed block; undefined where that is no smaller. */
export function compressBlock(compressor: PackCompressor, bytes: Uint8Array): Uint8Array | undefined {
  const packed = COMPRESS[compressor](bytes);
  return packed.length < bytes.length ? packed : undefined;
}

/** What a worker answers: the block as it is to be stored. */
export interface CompressedBlock {
  readonly bytes: Uint8Array;
  readonly isCompressed: boolean;
}

interface Waiting {
  readonly resolve: (block: CompressedBlock) => void;
  readonly reject: (error: Error) => void;
}

/** Worker threads that compress blocks. `close` ends them. */
export class CompressorPool {
  /** Each answers in the order in which it was asked. */
  readonly #workers: { readonly worker: Worker; readonly waiting: Waiting[] }[];

  /** @param threads default: one for each processor. */
  constructor(compressor: PackCompressor, threads = availableParallelism()) {
    this.#workers = Array.from({ length: threads }, () => {
      const worker = new Worker(entryModule('image/squashfs/compress-worker'), { workerData: compressor });
      const waiting: Waiting[] = [];
      const fail = (error: Error) => {
        for (const { reject } of waiting.splice(0)) reject(error);
      };
      worker.on('message', (block: CompressedBlock) => waiting.shift()?.resolve(block));
      worker.on('error', fail);
      worker.on('exit', (code) => fail(new Error(`compressing: the worker ended with ${code}`)));
      return { worker, waiting };
    });
  }

  get threads(): number {
    return this.#workers.length;
  }

  /** @param bytes of a buffer of their own, which goes to the worker and is empty afterwards. */
  compress(bytes: Uint8Array<ArrayBuffer>): Promise<CompressedBlock> {
    const free = this.#workers.reduce((a, b) => (b.waiting.length < a.waiting.length ? b : a));
    return new Promise((resolve, reject) => {
      free.waiting.push({ resolve, reject });
      free.worker.postMessage(bytes, [bytes.buffer]);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => worker.terminate()));
  }
}
