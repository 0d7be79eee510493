/**
 * Uploads a file in chunks, one after the other, to a service that reports how many bytes it has. An upload opens a session, sends the
 * chunks, and closes the session if the service requires it.
 *
 * The service's count makes the upload resumable: after a failure, or in another process, the upload asks how many bytes arrived. So it
 * does not matter whether a part of a chunk or only an answer was lost. The session is saved before each chunk. If the service has
 * discarded the session ({@link SessionLost}), a new one begins. If chunks do not increase the count, the upload fails.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { attemptsWorth } from '../http.ts';
import { onlyForward } from './progress.ts';
import { withRetries } from './retries.ts';

/** The service's state: the bytes it has, with the session as its answer updated it; or the result, if it has the whole file. */
export type Received<S, R> = { readonly session: S; readonly offset: number } | { readonly done: R };

/** A chunk of the file, and the body that sends it. */
export interface Chunk {
  /** First byte, and the one after the last. */
  readonly start: number;
  readonly end: number;
  readonly body: ReturnType<typeof fileBody>;
}

/** The service's side of an upload. `S` is a session, plain JSON; `R` is the result of the whole upload. */
export interface OrderedUpload<S, R> {
  /** Names the upload in messages. */
  readonly what: string;
  readonly file: { readonly path: string; readonly size: number };
  /** The file and its target. A saved session is resumed only if both are the same. */
  readonly identity: Readonly<Record<string, string | undefined>>;
  /** Bytes of a chunk. */
  readonly chunk: number | ((session: S) => number);
  /** Checks a saved session; undefined if it is not valid. */
  parse(saved: unknown): S | undefined;
  /** Opens a session. Returns `done` if nothing needs to be sent. */
  start(): Promise<Received<S, R>>;
  /** Asks the service how many bytes it has. */
  ask(session: S): Promise<Received<S, R>>;
  send(session: S, chunk: Chunk): Promise<Received<S, R>>;
  /** Closes a session that has all bytes. Absent if the last chunk closes it. */
  finish?(session: S): Promise<R>;
  /** Should the upload continue after this failure to send a chunk? Asked in addition to the usual retry policy. */
  isTransient?(error: SregistryError): boolean;
}

export interface OrderedUploadOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** Attempts for one chunk, and sessions for one push, before the push fails. */
const CHUNK_ATTEMPTS = 5;
const SESSIONS = 3;

/** The service no longer knows the session, so the upload needs a new one. */
export class SessionLost extends SregistryError {
  constructor(what: string, cause: SregistryError) {
    super('SERVICE', `${what}: the service discarded the upload: ${cause.message}`, { cause });
  }
}

/** The service accepted a chunk, but does not have more bytes than before. */
class Stuck extends SregistryError {
  constructor(what: string) {
    super('SERVICE', `${what}: the upload makes no progress`);
  }
}

/** Uploads the file, or the rest of it after an earlier interrupted push. */
export async function uploadInOrder<S, R>(
  upload: OrderedUpload<S, R>,
  options: OrderedUploadOptions = {},
): Promise<R> {
  const { what, identity } = upload;
  const { signal, resume } = options;
  const progress = onlyForward(options.progress);
  let earlier = resumed(upload, resume);
  const attempt = async () => {
    const known = earlier;
    earlier = undefined;
    const received = known === undefined ? await upload.start() : await upload.ask(known);
    return sendAll(upload, received, {
      progress,
      signal,
      save: (session, offset) => resume?.save({ ...identity, session, offset }),
    });
  };
  const isLost = (error: unknown) => (error instanceof SessionLost ? SESSIONS : 1);
  const result = await withRetries(attempt, { what, attempts: isLost, signal });
  resume?.save({});
  return result;
}

/** The session of an earlier push of this file to this place. */
function resumed<S, R>(
  { identity, parse }: OrderedUpload<S, R>,
  resume: PushState | undefined,
): S | undefined {
  const state = resume?.load() ?? {};
  const isOurs = Object.entries(identity).every(([name, value]) => state[name] === value);
  return isOurs && state.session !== undefined ? parse(state.session) : undefined;
}

interface Sending<S> {
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
  save(session: S, offset: number): void;
}

async function sendAll<S, R>(
  upload: OrderedUpload<S, R>,
  first: Received<S, R>,
  { progress, signal, save }: Sending<S>,
): Promise<R> {
  const { what } = upload;
  const attempts = (error: unknown) => (isTransient(upload, error) ? CHUNK_ATTEMPTS : 1);
  let received = first;
  while (!('done' in received)) {
    const before = received;
    save(before.session, before.offset);
    if (before.offset >= upload.file.size && upload.finish !== undefined)
      return upload.finish(before.session);
    const next = async (attempt: number): Promise<Received<S, R>> => {
      const now = attempt === 1 ? before : await upload.ask(before.session);
      return 'done' in now ? now : advance(upload, now, progress);
    };
    received = await withRetries(next, { what, attempts, signal });
  }
  return received.done;
}

function isTransient<S, R>({ isTransient: also }: OrderedUpload<S, R>, error: unknown): boolean {
  return (
    error instanceof Stuck || attemptsWorth(error, true) > 1 || (isError(error) && also?.(error) === true)
  );
}

/** Sends the next chunk. Throws Stuck if the service then has no more bytes than before. */
async function advance<S, R>(
  upload: OrderedUpload<S, R>,
  { session, offset: start }: { readonly session: S; readonly offset: number },
  progress: Progress,
): Promise<Received<S, R>> {
  const { file, what, chunk, finish } = upload;
  if (start >= file.size && finish !== undefined) return { session, offset: start };
  const end = Math.min(file.size, start + (typeof chunk === 'number' ? chunk : chunk(session)));
  const received =
    start < file.size
      ? await upload.send(session, { start, end, body: fileBody({ ...file, start, end }, progress) })
      : await upload.ask(session);
  const isGrown = 'done' in received || (received.offset > start && received.offset <= file.size);
  if (!isGrown) throw new Stuck(what);
  return received;
}
