/**
 * Uploads a file in parts of equal size, several at a time, to a service that joins them at the end.
 *
 * After every part, the upload saves what another process needs to continue: the upload's id and the entity tags of its parts. A resumed
 * push asks the service which parts it has, and does not send the correct ones again.
 */
import pMap from 'p-map';
import { describeError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { onlyForward } from './progress.ts';
import { mayGoOn, unlessLost } from './resumable.ts';
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

/** Entity tags and sizes of parts, by number. */
export type PartList = ReadonlyMap<number, { readonly etag: string; readonly size: number }>;

/** The service's side of an upload. */
export interface ParallelUpload<R> {
  /** Names the upload in messages. */
  readonly what: string;
  readonly file: HashedFile;
  /** The target of the file. A saved upload is resumed only if file, target and part size are the same. */
  readonly identity: Readonly<Record<string, string>>;
  /** Bytes of each part but the last. */
  readonly partSize: number;
  /** Opens an upload; returns its id. */
  start(): Promise<string>;
  /**
   * The parts that the service has, by number; undefined if it no longer knows the upload. A service that does not list parts returns
   * `saved`, the parts that an earlier push saved after the service had confirmed them.
   */
  list(id: string, saved: PartList): Promise<PartList | undefined>;
  /** Does the entity tag belong to these bytes? Asked for parts whose answer was lost. */
  isSame(etag: string, part: Part): Promise<boolean>;
  /** Sends a part; returns its entity tag. */
  send(id: string, part: Part, body: ReturnType<typeof fileBody>, signal: AbortSignal): Promise<string>;
  complete(id: string, parts: readonly StoredPart[]): Promise<R>;
  /** Discards an upload and its parts. */
  abort(id: string, signal: AbortSignal): Promise<void>;
  /** Called with the upload's id before the first part is sent. */
  opened?(id: string): Promise<void>;
}

export interface ParallelUploadOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** Parts that are sent at once. */
const CONCURRENCY = 4;
/** Milliseconds for cleaning up after a failure. */
const TIDY_TIMEOUT = 10_000;

export async function uploadInParallel<R>(
  upload: ParallelUpload<R>,
  options: ParallelUploadOptions = {},
): Promise<R> {
  const earlier = await resumed(upload, options);
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

async function giveUp(
  { what, abort }: Pick<ParallelUpload<unknown>, 'what' | 'abort'>,
  id: string,
  resume: PushState | undefined,
): Promise<void> {
  resume?.save({});
  await abort(id, AbortSignal.timeout(TIDY_TIMEOUT)).catch((error: unknown) => {
    debug('could not discard upload %s of %s: %s', id, what, describeError(error));
  });
}

/** The upload of an earlier push of this file, with its verified parts. */
async function resumed<R>(
  upload: ParallelUpload<R>,
  { resume, signal }: ParallelUploadOptions,
): Promise<{ readonly id: string; readonly parts: StoredPart[] } | undefined> {
  const { upload: id, etags, ...state } = resume?.load() ?? {};
  const { what } = upload;
  const isOurs = Object.entries(stateOf(upload)).every(([name, value]) => state[name] === value);
  if (!isOurs || typeof id !== 'string' || typeof etags !== 'object') return undefined;
  const saved = { ...etags } as Record<number, unknown>;
  const present = await unlessLost(() => upload.list(id, savedParts(upload, saved)), { what, signal });
  if (present === undefined) return undefined;
  const parts: StoredPart[] = [];
  for (const number of numbersOf(upload)) {
    const { etag, size } = present.get(number) ?? {};
    const part = partOf(upload, number);
    if (etag === undefined || size !== part.end - part.start) continue;
    // The service may have a part whose answer was lost when the earlier push ended.
    if (saved[number] === etag || (await upload.isSame(etag, part))) parts.push({ number, etag });
  }
  debug('resuming upload %s of %s: the service has %d parts', id, what, parts.length);
  return { id, parts };
}

function savedParts(upload: ParallelUpload<unknown>, saved: Readonly<Record<number, unknown>>): PartList {
  const last = Math.ceil(upload.file.size / upload.partSize);
  const parts = Object.entries(saved).flatMap(([key, etag]) => {
    const number = Number(key);
    if (!Number.isInteger(number) || number < 1 || number > last || typeof etag !== 'string') return [];
    const { start, end } = partOf(upload, number);
    return [[number, { etag, size: end - start }] as const];
  });
  return new Map(parts);
}

/** What must match for a saved state to be resumed. */
function stateOf({ identity, file, partSize }: ParallelUpload<unknown>) {
  return { ...identity, digest: file.digest, partSize };
}

/** The numbers of all parts. */
function numbersOf({ file: { size }, partSize }: ParallelUpload<unknown>): number[] {
  return Array.from({ length: Math.ceil(size / partSize) }, (_, index) => index + 1);
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
  const { file } = upload;
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
  // The first failure is the cause; it aborts the other parts.
  await pMap(
    numbersOf(upload).filter((number) => !isDone.has(number)),
    async (number) => {
      if (!stop.signal.aborted) await send(number).catch((error: unknown) => stop.abort(error));
    },
    { concurrency: CONCURRENCY },
  );
  if (stop.signal.aborted) throw stop.signal.reason;
  return parts.sort((one, other) => one.number - other.number);
}

/** Total progress of parts that are sent at the same time. */
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
