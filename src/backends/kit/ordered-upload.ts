/**
 * Uploads a file in chunks, one after the other, to a service that reports how many bytes it has. An upload opens a session, sends the
 * chunks, and closes the session if the service requires it.
 *
 * The service's count makes the upload resumable: after a failure, or in another process, the upload asks how many bytes arrived. So it
 * does not matter whether a part of a chunk or only an answer was lost. The session is saved before each chunk. If the service has
 * discarded the session ({@link SessionLost}), a new one begins.
 *
 * The count itself may be wrong. If it does not grow beyond what it was before, the upload fails after a few attempts, even if each
 * chunk seems to arrive. If it includes bytes that were never sent, the upload fails at once: the object would have a hole. A session
 * that no later push can continue is forgotten.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { attemptsWorth } from '../http.ts';
import { onlyForward } from './progress.ts';
import { mayGoOn, unlessLost } from './resumable.ts';
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

/** The service does not have more bytes than before. */
class Stuck extends SregistryError {
  constructor(what: string) {
    super('SERVICE', `${what}: the upload makes no progress`);
  }
}

/** The service says that it has bytes that it cannot have. */
class Impossible extends SregistryError {
  constructor(what: string, offset: number, sent: number) {
    super('SERVICE', `${what}: the service says that it has ${offset} bytes, of which ${sent} were sent`);
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
    const going = known && (await unlessLost(() => askEarlier(upload, known), { what, signal }));
    const { received, sent } = going ?? { received: await upload.start(), sent: 0 };
    const save = (session: S, end: number) => resume?.save({ ...identity, session, sent: end });
    return sendAll(upload, counted(what, received, sent), { progress, signal, save, sent });
  };
  const isLost = (error: unknown) => (error instanceof SessionLost ? SESSIONS : 1);
  try {
    const result = await withRetries(attempt, { what, attempts: isLost, signal });
    resume?.save({});
    return result;
  } catch (error) {
    if (!mayGoOn(error)) resume?.save({});
    throw error;
  }
}

/** The session of an earlier push, and the bytes that it may have sent. */
interface Earlier<S> {
  readonly session: S;
  readonly sent: number;
}

/** The session of an earlier push of this file to this place. */
function resumed<S, R>(
  { identity, file, parse }: OrderedUpload<S, R>,
  resume: PushState | undefined,
): Earlier<S> | undefined {
  const { sent, ...state } = resume?.load() ?? {};
  const isOurs = Object.entries(identity).every(([name, value]) => state[name] === value);
  if (!isOurs || state.session === undefined || !isCount(sent) || sent > file.size) return undefined;
  const session = parse(state.session);
  return session === undefined ? undefined : { session, sent };
}

/** What the service has of an earlier push. */
async function askEarlier<S, R>(upload: OrderedUpload<S, R>, { session, sent }: Earlier<S>) {
  return { received: counted(upload.what, await upload.ask(session), sent), sent };
}

/** The service's count, which cannot be more than the bytes that were sent. */
function counted<S, R>(what: string, received: Received<S, R>, sent: number): Received<S, R> {
  if ('done' in received || (isCount(received.offset) && received.offset <= sent)) return received;
  throw new Impossible(what, received.offset, sent);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

interface Sending<S> {
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
  /** Bytes that an earlier push may have sent. */
  readonly sent: number;
  /** Saves the session before the bytes up to `end` are sent. */
  save(session: S, end: number): void;
}

async function sendAll<S, R>(
  upload: OrderedUpload<S, R>,
  first: Received<S, R>,
  { progress, signal, save, sent: sentBefore }: Sending<S>,
): Promise<R> {
  const { what, file, finish } = upload;
  const attempts = (error: unknown) => (isTransient(upload, error) ? CHUNK_ATTEMPTS : 1);
  let received = first;
  let sent = sentBefore;
  /** The service's highest count, and how often its count fell since. */
  let most = -1;
  let falls = 0;
  const count = (given: Received<S, R>) => counted(what, given, sent);

  while (!('done' in received)) {
    const before = received;
    if (before.offset > most) [most, falls] = [before.offset, 0];
    if (before.offset >= file.size && finish !== undefined) {
      save(before.session, sent);
      return finish(before.session);
    }
    const next = async (attempt: number): Promise<Received<S, R>> => {
      const now = attempt === 1 ? before : count(await upload.ask(before.session));
      if ('done' in now) return now;
      if (now.offset < before.offset) falls += 1;
      if (falls >= CHUNK_ATTEMPTS) throw new Stuck(what);
      const end = endOfChunk(upload, now);
      sent = Math.max(sent, end);
      save(now.session, sent);
      return advance(upload, { ...now, end }, progress, count);
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

/** The byte after the next chunk. */
function endOfChunk<S, R>(
  { file, chunk }: OrderedUpload<S, R>,
  { session, offset }: { readonly session: S; readonly offset: number },
): number {
  return Math.min(file.size, offset + (typeof chunk === 'number' ? chunk : chunk(session)));
}

/** Sends the next chunk. Throws Stuck if the service then has no more bytes than before. */
async function advance<S, R>(
  upload: OrderedUpload<S, R>,
  { session, offset: start, end }: { readonly session: S; readonly offset: number; readonly end: number },
  progress: Progress,
  count: (received: Received<S, R>) => Received<S, R>,
): Promise<Received<S, R>> {
  const { file, what, finish } = upload;
  if (start >= file.size && finish !== undefined) return { session, offset: start };
  const received = count(
    start < file.size
      ? await upload.send(session, { start, end, body: fileBody({ ...file, start, end }, progress) })
      : await upload.ask(session),
  );
  if (!('done' in received) && received.offset <= start) throw new Stuck(what);
  return received;
}
