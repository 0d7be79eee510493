/**
 * Large files, by a resumable session (cloud.google.com/storage/docs/performing-resumable-uploads): a POST with the metadata
 * gives its address, PUTs feed it.
 *
 * What makes it resumable is that the service counts: after a failure, or in another process, an empty PUT asks how many
 * bytes it has. A session lives for a week; its address is handed to the caller as soon as it is known. The object appears
 * when the last byte has arrived, and not before.
 */
import pRetry from 'p-retry';
import { abortError } from '../../base/abort.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Progress, PushState } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { attemptsWorth, type Reply } from '../http.ts';
import type { Bucket } from './bucket.ts';
import { inserted, insertQuery, type NewObject, uploadPath } from './insert.ts';
import { type StoredObject, toObject } from './objects.ts';

const debug = debugLog('gcs');

/** Bytes of a PUT; multiples of 256 KiB, as the service wants. */
const CHUNK = 16 * 1024 * 1024;
/** Repetitions of one chunk, and sessions begun anew, after which a push fails. */
const CHUNK_RETRIES = 4;
const RESTARTS = 2;
/** Milliseconds before the first of either; doubled for each further one. */
const FIRST_DELAY = 500;
/** Milliseconds of silence after the last byte, in which the service may put a large object together. */
const CLOSE_STALL = 300_000;
/** "Resume Incomplete": the service has a part and wants more. */
const INCOMPLETE = 308;

/** A file on its way. */
export interface Transfer {
  readonly bucket: Bucket;
  readonly object: NewObject;
  readonly file: { readonly path: string; readonly size: number };
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

/** What a session has: bytes, or all of them and therefore an object. */
type Received = { readonly offset: number } | { readonly stored: StoredObject };

/** The service no longer knows a session: the only way on is a new one. */
class SessionLost extends SregistryError {
  constructor(cause: SregistryError) {
    super('SERVICE', `Cloud Storage gave an upload up: ${cause.message}`, { cause });
  }
}

/** The service takes a part and has no more than before. */
class Stuck extends SregistryError {
  constructor(bucket: Bucket) {
    super('SERVICE', `${bucket.target}: an upload does not grow`);
  }
}

export async function uploadResumably(transfer: Transfer): Promise<StoredObject> {
  let earlier = resumed(transfer);
  const attempt = async () => {
    const session = earlier ?? (await startSession(transfer));
    const isNew = earlier === undefined;
    earlier = undefined;
    return sendAll(transfer, session, isNew);
  };
  const stored = await patiently(attempt, RESTARTS, (error) => error instanceof SessionLost, transfer.signal);
  transfer.resume?.save({});
  return stored;
}

async function patiently<T>(
  attempt: (number: number) => Promise<T>,
  retries: number,
  isWorthIt: (error: unknown) => boolean,
  signal: AbortSignal | undefined,
): Promise<T> {
  try {
    return await pRetry(attempt, {
      retries,
      minTimeout: FIRST_DELAY,
      randomize: true,
      shouldRetry: ({ error }) => isWorthIt(error),
      onFailedAttempt: ({ error }) => debug('upload: %s', error.message),
      ...(signal && { signal }),
    });
  } catch (error) {
    throw signal?.aborted ? abortError(signal, 'the upload') : error;
  }
}

/** The session of an earlier push of this file to this place. */
function resumed({ bucket, object, resume }: Transfer): URL | undefined {
  const state = resume?.load() ?? {};
  const isOurs =
    state.target === bucket.target && state.object === object.name && state.md5 === object.md5Hash;
  return isOurs && typeof state.session === 'string' ? (URL.parse(state.session) ?? undefined) : undefined;
}

async function startSession({ bucket, object, file, signal }: Transfer): Promise<URL> {
  const reply = await inserted(
    bucket,
    bucket.request('POST', uploadPath(bucket), {
      query: insertQuery(bucket, object, 'resumable'),
      headers: {
        'x-upload-content-type': object.contentType,
        'x-upload-content-length': String(file.size),
      },
      json: object,
      // A session that nobody feeds leaves nothing behind.
      idempotent: true,
      signal,
    }),
  );
  const session = URL.parse(reply.headers.location ?? '', reply.url.href);
  if (session === null)
    throw new SregistryError('SERVICE', `${bucket.target}: an upload without a usable address`);
  return session;
}

async function sendAll(transfer: Transfer, session: URL, isNew: boolean): Promise<StoredObject> {
  const { bucket, object, resume, signal } = transfer;
  const save = (offset: number) =>
    resume?.save({
      target: bucket.target,
      object: object.name,
      md5: object.md5Hash,
      session: session.href,
      offset,
    });
  save(0);
  let received: Received = isNew ? { offset: 0 } : await askReceived(transfer, session);
  while ('offset' in received) {
    const { offset } = received;
    const sendChunk = async (attempt: number): Promise<Received> => {
      const now: Received = attempt === 1 ? { offset } : await askReceived(transfer, session);
      return 'stored' in now ? now : put(transfer, session, now.offset);
    };
    received = await patiently(sendChunk, CHUNK_RETRIES, isTransient, signal);
    if ('offset' in received) save(received.offset);
  }
  return received.stored;
}

/** Worth asking the service how far it got. */
function isTransient(error: unknown): boolean {
  return error instanceof Stuck || attemptsWorth(error, true) > 1;
}

/** Sends the chunk from byte `start`, after which there has to be more. */
async function put(transfer: Transfer, session: URL, start: number): Promise<Received> {
  const { bucket, file } = transfer;
  const received = await (start < file.size
    ? putChunk(transfer, session, start)
    : askReceived(transfer, session));
  if ('offset' in received && (received.offset <= start || received.offset > file.size))
    throw new Stuck(bucket);
  return received;
}

async function putChunk(
  { bucket, file, progress, signal }: Transfer,
  session: URL,
  start: number,
): Promise<Received> {
  const end = Math.min(file.size, start + CHUNK);
  const request = bucket.request('PUT', session, {
    headers: {
      'content-length': String(end - start),
      'content-range': `bytes ${start}-${end - 1}/${file.size}`,
    },
    body: fileBody({ ...file, start, end }, progress),
    allow: [INCOMPLETE],
    // After a failure the service is asked what it has before anything is sent again.
    idempotent: false,
    stall: CLOSE_STALL,
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
  return receivedOf(bucket, await knownSession(request));
}

async function askReceived({ bucket, file, signal }: Transfer, session: URL): Promise<Received> {
  const headers = { 'content-length': '0', 'content-range': `bytes */${file.size}` };
  const request = bucket.request('PUT', session, { headers, body: '', allow: [INCOMPLETE], signal });
  return receivedOf(bucket, await knownSession(request));
}

/** `Range: bytes=0-<last byte>` of an incomplete upload; absent where nothing has arrived. */
function receivedOf(bucket: Bucket, reply: Reply): Received {
  if (reply.status !== INCOMPLETE) return { stored: toObject(reply.json(), bucket) };
  const { range } = reply.headers;
  if (range === undefined) return { offset: 0 };
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(range)?.[1];
  if (last === undefined)
    throw new SregistryError(
      'SERVICE',
      `${bucket.target}: an upload of unknown length (${range.slice(0, 60)})`,
    );
  return { offset: Number(last) + 1 };
}

/** 404 and 410 for a session that has expired or failed; 499 for one that was canceled. */
async function knownSession(request: Promise<Reply>): Promise<Reply> {
  try {
    return await request;
  } catch (error) {
    const isLost = isError(error, 'NOT_FOUND') || (isError(error) && error.status === 499);
    throw isLost ? new SessionLost(error) : error;
  }
}
