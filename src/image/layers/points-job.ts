/** The job of record.ts: finds the points in the bytes of a blob that it is sent, then reads the archive for what they need. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { zstdCompressSync } from 'node:zlib';
import { moved } from '../../base/moved.ts';
import type { JobContext } from '../../base/threads.ts';
import { malformed } from '../binary.ts';
import { PointFinder, type Points } from './points.ts';
import type { RecorderWork, ToRecorder } from './record.ts';
import { type Restart, RestartSpans, WINDOW_SIZE } from './restart.ts';
import { formatRestarts } from './restart-file.ts';

/** Bytes of the archive read at once. */
const CHUNK = 1024 * 1024;

/**
 * Sends the number of bytes after each piece that it took. Gives the points as a file. Opens the file of the archive at once, since
 * the file moves to its place in the cache later.
 */
export async function run(
  { path, diffId }: RecorderWork,
  { signal, receive, send }: JobContext<ToRecorder, number>,
): Promise<Uint8Array> {
  const file = openSync(path, 'r');
  try {
    const finder = new PointFinder();
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      receive((message) => {
        try {
          if (message === 'end') resolve();
          else finder.push(message);
        } catch (error) {
          reject(error);
        }
        send(message.length);
      });
    });
    const bytes = new Uint8Array(formatRestarts(complete(finder.end(), file, diffId)));
    return moved(bytes, bytes.buffer);
  } finally {
    closeSync(file);
  }
}

/**
 * Adds digests and windows to the points, from the archive, and compares that once more: others may have changed the file since.
 * It reads with blocking calls, which block only this thread.
 */
function complete({ points, size, storedSize }: Points, file: number, diffId: string): RestartSpans {
  const whole = createHash('sha256');
  const restarts = points.map((point, index): Restart => {
    const end = points[index + 1]?.offset ?? size;
    return { ...point, sha256: sha256Of(file, point.offset, end, whole), window: windowOf(point, file) };
  });
  if (`sha256:${whole.digest('hex')}` !== diffId) throw malformed('the archive is not what was counted');
  return new RestartSpans(restarts, size, storedSize);
}

function sha256Of(file: number, start: number, end: number, whole: Hash): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = start; at < end; ) {
    const read = readSync(file, buffer, 0, Math.min(CHUNK, end - at), at);
    if (read === 0) break;
    for (const one of [hash, whole]) one.update(buffer.subarray(0, read));
    at += read;
  }
  return hash.digest('hex');
}

function windowOf({ kind, offset }: Points['points'][number], file: number): Uint8Array {
  if (kind !== 'block') return new Uint8Array(0);
  const window = Buffer.alloc(Math.min(offset, WINDOW_SIZE));
  readSync(file, window, 0, window.length, offset - window.length);
  return zstdCompressSync(window);
}
