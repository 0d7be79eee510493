/**
 * A file in chunks, one after the other, for services that count what they have: an upload session is opened, fed, and where the
 * service wants it closed.
 *
 * What makes it resumable is the service's count: after a failure, or in another process, the service is asked how far it got, whether
 * half a chunk arrived or only an answer was lost. The session is saved before each chunk. A session that the service gave up
 * ({@link SessionLost}) is begun anew; one that takes chunks and has no more than before is an error.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { attemptsWorth } from '../http.ts';
import { onlyForward } from './progress.ts';
import { withRetries } from './retries.ts';

/** What the service has: so many bytes, in a session that its answer may have changed; or all of them, and what became of them. */
export type Received<S, R> = { readonly session: S; readonly offset: number } | { readonly done: R };

/** A chunk of the file, and the body that sends it. */
export interface Chunk {
  /** First byte, and the one after the last. */
  readonly start: number;
  readonly end: number;
  readonly body: ReturnType<typeof fileBody>;
}

/** How a service takes the chunks. `S` is a session, plain JSON; `R` what the whole upload comes to. */
export interface OrderedUpload<S, R> {
  /** Names the upload in messages. */
  readonly what: string;
  readonly file: { readonly path: string; readonly size: number };
  /** Which file this is and where it goes. A saved session is taken up only for the same. */
  readonly identity: Readonly<Record<string, string | undefined>>;
  /** Bytes of a chunk. */
  readonly chunk: number | ((session: S) => number);
  /** A saved session, checked; undefined where it is none. */
  parse(saved: unknown): S | undefined;
  /** Opens a session. `done` where nothing needs to be sent. */
  start(): Promise<Received<S, R>>;
  /** How far the service got. */
  ask(session: S): Promise<Received<S, R>>;
  send(session: S, chunk: Chunk): Promise<Received<S, R>>;
  /** Closes a session that has all bytes; absent where the last chunk does it. */
  finish?(session: S): Promise<R>;
  /** Is a failure to send a chunk worth asking the service, besides those that are worth another attempt anyway? */
  isTransient?(error: SregistryError): boolean;
}

export interface OrderedUploadOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** Attempts of one chunk, and sessions, after which a push fails. */
const CHUNK_ATTEMPTS = 5;
const SESSIONS = 3;

/** The service no longer knows a session: the only way on is a new one. */
export class SessionLost extends SregistryError {
  constructor(what: string, cause: SregistryError) {
    super('SERVICE', `${what}: the service gave the upload up: ${cause.message}`, { cause });
  }
}

/** The service takes a chunk and has no more than before. */
class Stuck extends SregistryError {
  constructor(what: string) {
    super('SERVICE', `${what}: an upload does not grow`);
  }
}

/** Sends the file, all of it or what the service does not have of an earlier push. */
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

/** Sends the next chunk, after which there has to be more. */
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
