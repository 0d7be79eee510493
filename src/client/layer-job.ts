/**
 * The job of fetch-layer.ts: takes the blob of a layer as it arrives, and writes its archive to a file. Decompressing, both digests,
 * the index and the checksums of blocks are made in this one pass.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { isError } from '../base/errors.ts';
import { moved } from '../base/moved.ts';
import type { JobContext } from '../base/threads.ts';
import { BlockSums } from '../cache/block-sums.ts';
import { packEntries } from '../image/layers/packed-entries.ts';
import { TarIndexer } from '../image/layers/tar.ts';
import { unpackLayer } from '../image/layers/unpack.ts';
import type { FetchedLayer, FromLayerJob, LayerWork, ToLayerJob } from './fetch-layer.ts';

export async function run(
  { path, room, ...digests }: LayerWork,
  { signal, receive, send }: JobContext<ToLayerJob, FromLayerJob>,
): Promise<FetchedLayer> {
  signal.throwIfAborted();
  const arriving = new Readable({ objectMode: true, read: () => {} });
  // Whoever reads gets its error; nobody may be reading any more.
  arriving.on('error', () => {});
  const writer = new ArchiveWriter(path, room, (size) => send({ wanted: size }));
  signal.addEventListener('abort', () => arriving.destroy(new Error('The fetch was ended')));
  receive((message) => {
    if ('room' in message) writer.grant(message.room);
    else arriving.push('chunk' in message ? message.chunk : null);
  });
  const blob = async function* () {
    for await (const chunk of arriving as AsyncIterable<Uint8Array>) {
      yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      send({ taken: chunk.length });
    }
  };
  const indexer = new TarIndexer(digests.title);
  let malformed: unknown;
  try {
    for await (const chunk of unpackLayer(digests, blob(), signal)) {
      if (malformed !== undefined) continue;
      try {
        indexer.push(chunk);
      } catch (error) {
        if (!isError(error, 'NOT_AN_IMAGE')) throw error;
        // Whether the registry has it so, or it was damaged, the digests say.
        malformed = error;
        continue;
      }
      await writer.write(chunk, signal);
    }
  } finally {
    writer.close();
  }
  if (malformed !== undefined) throw malformed;
  const entries = packEntries(indexer.end());
  return moved({ size: writer.size, sums: writer.sums.finish(), entries }, entries.buffer);
}

/** Writes within the room that is granted, and asks for more. */
class ArchiveWriter {
  readonly sums = new BlockSums();
  size = 0;
  readonly #file: number;
  readonly #ask: (size: number) => void;
  #room: number;
  #granted: () => void = () => {};

  constructor(path: string, room: number, ask: (size: number) => void) {
    this.#file = openSync(path, 'r+');
    this.#room = room;
    this.#ask = ask;
  }

  grant(room: number): void {
    this.#room = room;
    this.#granted();
  }

  async write(bytes: Buffer, signal: AbortSignal): Promise<void> {
    while (this.size + bytes.length > this.#room) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(new Error('The fetch was ended'));
      this.#granted = resolve;
      signal.addEventListener('abort', abort, { once: true });
      this.#ask(this.size + bytes.length);
      await promise;
      signal.removeEventListener('abort', abort);
    }
    this.sums.update(bytes);
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#file, bytes, done, bytes.length - done, this.size + done);
    this.size += bytes.length;
  }

  close(): void {
    closeSync(this.#file);
  }
}
