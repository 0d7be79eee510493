/**
 * Fetches a layer into a file. The bytes of its blob go to another thread as they arrive, which does everything that takes time
 * (layer-job.ts). What is left here is the network, and room in the cache.
 */
import type { Readable } from 'node:stream';
import { entryModule } from '../base/package.ts';
import { startJob } from '../base/threads.ts';
import type { GrowingFile } from '../cache/growing-file.ts';
import type { LayerDigests } from '../image/layers/unpack.ts';

/** What the job is given. */
export interface LayerWork extends LayerDigests {
  /** An empty file for the archive. */
  readonly path: string;
  /** Bytes that the file may have. */
  readonly room: number;
}

/** The next bytes of the blob, its end, or what room there is by now. */
export type ToLayerJob = { readonly chunk: Uint8Array } | { readonly end: true } | { readonly room: number };

/** So many bytes of the blob were taken, or the file wants to have so many. */
export type FromLayerJob = { readonly taken: number } | { readonly wanted: number };

/** A layer whose digests are right. */
export interface FetchedLayer {
  /** Bytes of the archive. */
  readonly size: number;
  /** The checksum of each block. */
  readonly sums: readonly number[];
  /** Its index, see packed-entries.ts. */
  readonly entries: Uint8Array;
}

const JOB = entryModule('client/layer-job');
/** Bytes that go to the thread at a time. */
const PARCEL = 512 * 1024;
/** Bytes that are on their way to the thread. */
const WINDOW = 4 * 1024 * 1024;

/**
 * @param blob from its beginning to its end; is destroyed.
 * @param onChunk is called with the bytes of the blob as they arrive. It may not keep or change them.
 * @throws {SregistryError} CORRUPT if it has other digests, NOT_AN_IMAGE or NOT_PRESENTABLE as `TarIndexer`, NO_SPACE if the cache
 *   has no room; errors of the blob and the signal's reason.
 */
export async function fetchLayer(
  digests: LayerDigests,
  blob: Readable,
  file: GrowingFile,
  signal: AbortSignal,
  onChunk: (chunk: Buffer) => void,
): Promise<FetchedLayer> {
  const failed = new AbortController();
  let onTheWay = 0;
  let isOver = false;
  let arrived = () => {};
  const onMessage = (message: FromLayerJob) => {
    if ('taken' in message) {
      onTheWay -= message.taken;
      arrived();
      return;
    }
    file.reserve(message.wanted).then(
      () => job.send({ room: file.room }),
      (error: unknown) => failed.abort(error),
    );
  };
  const { title, digest, diffId } = digests;
  const work: LayerWork = { title, digest, diffId, path: file.path, room: file.room };
  const job = startJob<LayerWork, FetchedLayer, ToLayerJob, FromLayerJob>(JOB, work, {
    signal: AbortSignal.any([signal, failed.signal]),
    onMessage,
  });
  job.result.catch((error: Error) => {
    isOver = true;
    blob.destroy(error);
    arrived();
  });
  try {
    for await (const parcel of parcels(blob)) {
      onTheWay += parcel.length;
      job.send({ chunk: parcel }, [parcel.buffer]);
      while (onTheWay > WINDOW && !isOver) {
        const { promise, resolve } = Promise.withResolvers<void>();
        arrived = resolve;
        await promise;
      }
    }
    job.send({ end: true });
    return await job.result;
  } catch (error) {
    // Ends the job, unless its failure is what ended the blob.
    failed.abort(error);
    throw error;
  } finally {
    blob.destroy();
  }

  /** Copies, as what the network gave may be part of a larger buffer that somebody still reads. */
  async function* parcels(chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    let parcel = newParcel();
    let filled = 0;
    for await (const chunk of chunks) {
      onChunk(chunk);
      for (let at = 0; at < chunk.length; ) {
        const part = chunk.subarray(at, at + PARCEL - filled);
        parcel.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled < PARCEL) continue;
        yield parcel;
        parcel = newParcel();
        filled = 0;
      }
    }
    if (filled > 0) yield parcel.slice(0, filled);
  }
}

/** Memory of its own, as it moves to the thread; nobody sees what it held before. */
function newParcel(): Uint8Array<ArrayBuffer> {
  return Buffer.allocUnsafeSlow(PARCEL);
}
