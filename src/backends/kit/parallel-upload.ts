/**
 * A file in parts of equal size, several at a time, for services that put them together at the end.
 *
 * After every part the caller gets what another process needs to go on: the upload's id and the entity tags of its parts. A resumed
 * push asks the service for the parts it has; those that are right are not sent again.
 */
import pMap from 'p-map';
import { describeError, isError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { attemptsWorth } from '../http.ts';
import { onlyForward } from './progress.ts';
import type { HashedFile } from './store.ts';

const debug = debugLog('upload');

/** A part that the service has. */
export interface StoredPart {
  /** From 1. */
  readonly number: number;
  /** As the service writes it. */
  readonly etag: string;
}

/** A part of the file. */
export interface Part {
  /** From 1. */
  readonly number: number;
  readonly path: string;
  /** First byte, and the one after the last. */
  readonly start: number;
  readonly end: number;
}

/** How a service takes the parts. */
export interface ParallelUpload<R> {
  /** Names the upload in messages. */
  readonly what: string;
  readonly file: HashedFile;
  /** Where the file goes. A saved upload is taken up only for the same file, place and size of parts. */
  readonly identity: Readonly<Record<string, string>>;
  /** Bytes of each part but the last. */
  readonly partSize: number;
  /** Opens an upload; returns its id. */
  start(): Promise<string>;
  /** The parts that the service has, by number; undefined where it no longer knows the upload. */
  list(
    id: string,
  ): Promise<ReadonlyMap<number, { readonly etag: string; readonly size: number }> | undefined>;
  /** Is the entity tag that of these bytes? For parts whose answer was lost. */
  isSame(etag: string, part: Part): Promise<boolean>;
  /** Sends a part; returns its entity tag. */
  send(id: string, part: Part, body: ReturnType<typeof fileBody>, signal: AbortSignal): Promise<string>;
  complete(id: string, parts: readonly StoredPart[]): Promise<R>;
  /** Gives an upload up, and the parts that are there. */
  abort(id: string, signal: AbortSignal): Promise<void>;
  /** Called with the upload that is about to be fed, before anything is sent. */
  opened?(id: string): Promise<void>;
}

export interface ParallelUploadOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** Parts that are sent at once. */
const CONCURRENCY = 4;
/** Milliseconds for tidying up after a failure. */
const TIDY_TIMEOUT = 10_000;

export async function uploadInParallel<R>(
  upload: ParallelUpload<R>,
  options: ParallelUploadOptions = {},
): Promise<R> {
  const earlier = await resumed(upload, options.resume);
  const id = earlier?.id ?? (await upload.start());
  await upload.opened?.(id);
  try {
    const parts = await sendParts(upload, id, earlier?.parts ?? [], options);
    const result = await upload.complete(id, parts);
    options.resume?.save({});
    return result;
  } catch (error) {
    if (options.resume === undefined || !mayGoOn(error)) await giveUp(upload, id, options.resume);
    throw error;
  }
}

/** Is another attempt with the same upload worth it, later? */
function mayGoOn(error: unknown): boolean {
  return isError(error, 'CANCELED', 'UNAUTHORIZED') || attemptsWorth(error, true) > 1;
}

async function giveUp(
  { what, abort }: Pick<ParallelUpload<unknown>, 'what' | 'abort'>,
  id: string,
  resume: PushState | undefined,
): Promise<void> {
  resume?.save({});
  await abort(id, AbortSignal.timeout(TIDY_TIMEOUT)).catch((error: unknown) => {
    debug('upload %s of %s is left behind: %s', id, what, describeError(error));
  });
}

/** The upload of an earlier push of this file, with the parts of it that are surely there. */
async function resumed<R>(
  upload: ParallelUpload<R>,
  resume: PushState | undefined,
): Promise<{ readonly id: string; readonly parts: StoredPart[] } | undefined> {
  const { upload: id, etags, ...state } = resume?.load() ?? {};
  const isOurs = Object.entries(stateOf(upload)).every(([name, value]) => state[name] === value);
  if (!isOurs || typeof id !== 'string' || typeof etags !== 'object') return undefined;
  const present = await upload.list(id);
  if (present === undefined) return undefined;
  const saved = { ...etags } as Record<number, unknown>;
  const parts: StoredPart[] = [];
  for (const [number, { etag, size }] of present) {
    const part = partOf(upload, number);
    if (size !== part.end - part.start) continue;
    // Of a part that was on its way when its push ended, the service may have all, and its answer was lost.
    if (saved[number] === etag || (await upload.isSame(etag, part))) parts.push({ number, etag });
  }
  debug('upload %s of %s goes on: %d parts are there', id, upload.what, parts.length);
  return { id, parts };
}

/** What a saved state is compared by. */
function stateOf({ identity, file, partSize }: ParallelUpload<unknown>) {
  return { ...identity, digest: file.digest, partSize };
}

function partOf({ file: { path, size }, partSize }: ParallelUpload<unknown>, number: number): Part {
  const start = (number - 1) * partSize;
  return { number, path, start, end: Math.min(size, start + partSize) };
}

async function sendParts<R>(
  upload: ParallelUpload<R>,
  id: string,
  done: readonly StoredPart[],
  { progress, signal, resume }: ParallelUploadOptions,
): Promise<StoredPart[]> {
  const { file, partSize } = upload;
  const stop = new AbortController();
  const canceled = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const parts = [...done];
  const count = partCounter(file.size, onlyForward(progress));
  const save = () => {
    const etags = Object.fromEntries(parts.map(({ number, etag }) => [number, etag]));
    resume?.save({ ...stateOf(upload), upload: id, etags });
  };
  const finished = (part: StoredPart, { start, end }: Part) => {
    count(part.number, end - start);
    save();
  };
  for (const part of done) finished(part, partOf(upload, part.number));
  save();

  const send = async (number: number) => {
    const part = partOf(upload, number);
    const body = fileBody({ ...part, size: file.size }, (at) => count(number, at - part.start));
    const stored = { number, etag: await upload.send(id, part, body, canceled) };
    parts.push(stored);
    finished(stored, part);
  };
  const isDone = new Set(done.map(({ number }) => number));
  const numbers = Array.from({ length: Math.ceil(file.size / partSize) }, (_, index) => index + 1);
  // Of several failures the first is the cause; the others are what it stopped.
  await pMap(
    numbers.filter((number) => !isDone.has(number)),
    async (number) => {
      if (!stop.signal.aborted) await send(number).catch((error: unknown) => stop.abort(error));
    },
    { concurrency: CONCURRENCY },
  );
  if (stop.signal.aborted) throw stop.signal.reason;
  return parts.sort((one, other) => one.number - other.number);
}

/** Progress of parts that are sent side by side. */
function partCounter(total: number, progress: Progress): (number: number, bytes: number) => void {
  const sent = new Map<number, number>();
  return (number, bytes) => {
    sent.set(number, bytes);
    progress(
      [...sent.values()].reduce((sum, size) => sum + size, 0),
      total,
    );
  };
}
