/**
 * A large file as a multipart upload: parts of equal size, several at a time, each with its checksums. After every part
 * the caller gets what another process needs to go on: the upload's id and the entity tags of its parts. The service is
 * asked for the parts it has; those that are right are not sent again.
 */
import { createReadStream } from 'node:fs';
import { Transform } from 'node:stream';
import pMap from 'p-map';
import { describeError, isError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Progress, PushState } from '../backend.ts';
import { attemptsWorth, type Headers } from '../http.ts';
import type { Bucket } from './bucket.ts';
import { digestsOfRange, type FileRange, READ } from './digests.ts';
import { headObject, opaque } from './images.ts';
import { readMetadata } from './metadata.ts';
import {
  abortUpload,
  completeUpload,
  createUpload,
  listParts,
  listUploads,
  type StoredPart,
  sendPart,
  type Upload,
} from './uploads.ts';

const debug = debugLog('s3');

export interface LargeFile {
  readonly path: string;
  readonly size: number;
  readonly digest: string;
}

export interface PartsOptions {
  /** Metadata and type of the object. */
  readonly headers: Headers;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** A file on its way. */
interface Transfer extends PartsOptions {
  readonly bucket: Bucket;
  readonly key: string;
  readonly file: LargeFile;
  /** Bytes of each part but the last. */
  readonly partSize: number;
}

/** Parts that are sent at once. */
const CONCURRENCY = 4;
/** Bytes of the smallest part; S3 takes none below 5 MiB but the last. */
const SMALLEST_PART = 8 * 1024 * 1024;
/**
 * Parts of an upload, S3 takes up to 10,000. Fewer do as well: a tenth of a percent is little to send again, and the
 * state that is saved after each of them stays small.
 */
const MOST_PARTS = 1000;
const MEBIBYTE = 1024 * 1024;
/** Milliseconds after which an upload that nobody finished was left behind by a push that will not come back. */
const ORPHANED = 24 * 3600 * 1000;
/** Milliseconds for tidying up after a failure. */
const TIDY_TIMEOUT = 10_000;

export function partSizeOf(size: number): number {
  return Math.max(SMALLEST_PART, Math.ceil(size / MOST_PARTS / MEBIBYTE) * MEBIBYTE);
}

/** Uploads the file and puts the object together. Returns the parts, in order. */
export async function uploadInParts(
  bucket: Bucket,
  key: string,
  file: LargeFile,
  options: PartsOptions,
): Promise<readonly StoredPart[]> {
  const transfer = { bucket, key, file, partSize: partSizeOf(file.size), ...options };
  const earlier = await resumed(transfer);
  const upload = earlier?.upload ?? (await createUpload(bucket, key, options.headers, options.signal));
  await abortOrphans(transfer, upload);
  try {
    const parts = await sendParts(transfer, upload, earlier?.parts ?? []);
    await complete(transfer, upload, parts);
    options.resume?.save({});
    return parts;
  } catch (error) {
    if (options.resume === undefined || !mayGoOn(error)) await giveUp(transfer, upload);
    throw error;
  }
}

async function complete(
  { bucket, key, file, signal }: Transfer,
  upload: Upload,
  parts: readonly StoredPart[],
) {
  try {
    await completeUpload(bucket, upload, parts, signal);
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
    // The answer may have been lost: then the upload is done, and no longer known.
    const found = await headObject(bucket, key, {}, signal);
    if (found === undefined || readMetadata(found.headers).digest !== file.digest) throw error;
  }
}

/** Is another attempt with the same upload worth it, later? */
function mayGoOn(error: unknown): boolean {
  return isError(error, 'CANCELED', 'UNAUTHORIZED') || attemptsWorth(error, true) > 1;
}

async function giveUp({ bucket, resume }: Transfer, upload: Upload): Promise<void> {
  resume?.save({});
  await abortUpload(bucket, upload, AbortSignal.timeout(TIDY_TIMEOUT)).catch((error: unknown) => {
    debug('upload %s of %s is left behind: %s', upload.id, upload.key, describeError(error));
  });
}

/** The upload of an earlier push of this file, with the parts of it that are surely there. */
async function resumed(transfer: Transfer): Promise<{ upload: Upload; parts: StoredPart[] } | undefined> {
  const { bucket, key, file, partSize, signal } = transfer;
  const { target, upload: id, etags, ...state } = transfer.resume?.load() ?? {};
  const isOurs =
    target === bucket.place.target &&
    state.key === key &&
    state.digest === file.digest &&
    state.partSize === partSize &&
    typeof id === 'string' &&
    typeof etags === 'object';
  if (!isOurs) return undefined;
  const upload = { key, id };
  const present = await listParts(bucket, upload, signal);
  if (present === undefined) return undefined;
  const saved = { ...etags } as Record<number, unknown>;
  const parts: StoredPart[] = [];
  for (const [number, { etag, size }] of present) {
    const range = rangeOf(transfer, number);
    if (size !== sizeOf(range)) continue;
    // Of a part that was on its way when its push ended, the service may have all, and its answer was lost.
    if (saved[number] === etag || (await hasBytesOf(etag, range, signal))) parts.push({ number, etag });
  }
  debug('upload %s of %s goes on: %d parts are there', id, key, parts.length);
  return { upload, parts };
}

/** Is the entity tag the MD5 of these bytes? */
async function hasBytesOf(etag: string, range: FileRange, signal?: AbortSignal): Promise<boolean> {
  return opaque(etag).toLowerCase() === (await digestsOfRange(range, signal)).md5.toString('hex');
}

/** Pushes of this key that were given up a day ago and more: their parts take space that nobody sees. */
async function abortOrphans({ bucket, key, signal }: Transfer, current: Upload): Promise<void> {
  try {
    for await (const upload of listUploads(bucket, key, signal)) {
      if (upload.id === current.id || Date.now() - upload.started.getTime() < ORPHANED) continue;
      debug('upload %s of %s was left behind', upload.id, key);
      await abortUpload(bucket, upload, signal);
    }
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('uploads of %s are not tidied up: %s', key, describeError(error));
  }
}

async function sendParts(
  transfer: Transfer,
  upload: Upload,
  done: readonly StoredPart[],
): Promise<StoredPart[]> {
  const { bucket, file, partSize } = transfer;
  const stop = new AbortController();
  const signal = transfer.signal ? AbortSignal.any([transfer.signal, stop.signal]) : stop.signal;
  const parts = [...done];
  const count = new Count(transfer);
  const save = () => transfer.resume?.save(stateOf(transfer, upload, parts));
  for (const { number } of done) count.set(number, sizeOf(rangeOf(transfer, number)));
  save();

  const send = async (number: number) => {
    const range = rangeOf(transfer, number);
    const digests = await digestsOfRange(range, signal);
    const body = () => counted(range, (bytes) => count.set(number, bytes));
    parts.push(await sendPart(bucket, upload, number, { body, size: sizeOf(range), digests }, signal));
    count.set(number, sizeOf(range));
    save();
  };
  const isDone = new Set(done.map(({ number }) => number));
  const missing = Array.from({ length: Math.ceil(file.size / partSize) }, (_, index) => index + 1).filter(
    (number) => !isDone.has(number),
  );
  // Of several failures the first is the cause; the others are what it stopped.
  await pMap(
    missing,
    async (number) => {
      if (!stop.signal.aborted) await send(number).catch((error: unknown) => stop.abort(error));
    },
    { concurrency: CONCURRENCY },
  );
  if (stop.signal.aborted) throw stop.signal.reason;
  return parts.sort((one, other) => one.number - other.number);
}

/** What `resumed` wants to find. */
function stateOf({ bucket, key, file, partSize }: Transfer, upload: Upload, parts: readonly StoredPart[]) {
  const etags = Object.fromEntries(parts.map(({ number, etag }) => [number, etag]));
  return { target: bucket.place.target, key, digest: file.digest, partSize, upload: upload.id, etags };
}

/** The bytes of a part, counted from 1. */
function rangeOf({ file: { path, size }, partSize }: Transfer, number: number): FileRange {
  const start = (number - 1) * partSize;
  return { path, start, end: Math.min(size, start + partSize) };
}

const sizeOf = ({ start, end }: FileRange) => end - start;

/** A range of a file, telling how many of its bytes have been read. */
function counted({ path, start, end }: FileRange, tell: (bytes: number) => void): Transform {
  let done = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      done += chunk.length;
      tell(done);
      callback(null, chunk);
    },
  });
  const source = createReadStream(path, { start, end: end - 1, highWaterMark: READ });
  source.on('error', (error) => counter.destroy(error));
  counter.on('close', () => source.destroy());
  return source.pipe(counter);
}

/** Progress of parts that are sent side by side. A part that is sent again does not count back. */
class Count {
  readonly #bytes = new Map<number, number>();
  readonly #transfer: Transfer;
  #most = 0;

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
  }

  set(part: number, bytes: number): void {
    this.#bytes.set(part, bytes);
    const done = [...this.#bytes.values()].reduce((sum, size) => sum + size, 0);
    if (done <= this.#most) return;
    this.#most = done;
    this.#transfer.progress?.(done, this.#transfer.file.size);
  }
}
