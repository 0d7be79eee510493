/**
 * Pushing a file as a blob, as the distribution specification 1.1 describes it ("Pushing a blob in chunks"): an upload
 * session is opened with POST, fed with one PATCH a chunk, and closed with a PUT that states the digest.
 *
 * What makes it resumable is that the registry counts: after a failure its own count (GET of the session) says where to
 * go on, whether half a chunk arrived or only an answer was lost. The session's address is handed to the caller after
 * every chunk, so that another process can go on. A session that the registry gave up is begun anew; CNCF Distribution 2.8
 * gives one up when the connection breaks within a chunk.
 */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import pRetry from 'p-retry';
import { abortError } from '../../base/abort.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { debugLog } from '../../log/index.ts';
import type { Progress, PushState } from '../backend.ts';
import { attemptsWorth, type Reply } from '../http.ts';
import { closingLocation, hasBlob, nextLocation, startUpload, type Upload } from './blobs.ts';
import { type Repository, referenceOf } from './registries.ts';

const debug = debugLog('oci');

export interface FileBlob {
  readonly path: string;
  readonly size: number;
  readonly digest: string;
}

export interface UploadOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
  /** Bytes per PATCH, unless the registry wants longer ones. Default 64 MiB. */
  readonly chunk?: number | undefined;
}

/** A file on its way into a repository. */
interface Transfer extends UploadOptions {
  readonly repository: Repository;
  readonly blob: FileBlob;
}

/** Few enough requests not to matter, small enough for the proxies before registries. */
const CHUNK = 64 * 1024 * 1024;
/** Bytes read from disk at once. */
const READ = 256 * 1024;
/** Milliseconds for the registry to close an upload, in which it may compute a digest over tens of gigabytes. */
const CLOSE_TIMEOUT = 600_000;
/** Repetitions of one chunk, and sessions begun anew, after which a push fails. */
const CHUNK_RETRIES = 4;
const RESTARTS = 2;
/** Milliseconds before the first of either; doubled for each further one. */
const FIRST_DELAY = 500;

/** Makes sure that the repository holds the file. Sends nothing that it has already or that can be mounted. */
export async function pushFile(
  repository: Repository,
  blob: FileBlob,
  options: UploadOptions = {},
): Promise<void> {
  const { signal } = options;
  try {
    if (!(await hasBlob(repository, blob, signal))) await upload({ repository, blob, ...options });
  } catch (error) {
    throw signal?.aborted ? abortError(signal, `push to ${referenceOf(repository)}`) : error;
  }
  repository.registry.holders.set(blob.digest, repository.path);
  options.resume?.save({});
  options.progress?.(blob.size, blob.size);
}

/** The registry no longer knows an upload: the only way on is a new one. */
class UploadLost extends SregistryError {
  constructor(cause: SregistryError) {
    super('SERVICE', `the registry gave an upload up: ${cause.message}`, { cause });
  }
}

async function upload(transfer: Transfer): Promise<void> {
  const { repository, blob, signal } = transfer;
  let earlier = await resumed(transfer);
  const attempt = async () => {
    const session = earlier ?? (await startUpload(repository, blob.digest, signal));
    earlier = undefined;
    if (session !== undefined) await sendAll(transfer, session);
  };
  await patiently(attempt, RESTARTS, (error) => error instanceof UploadLost, signal);
}

function patiently(
  attempt: (number: number) => Promise<void>,
  retries: number,
  isWorthIt: (error: unknown) => boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  return pRetry(attempt, {
    retries,
    minTimeout: FIRST_DELAY,
    randomize: true,
    shouldRetry: ({ error }) => isWorthIt(error),
    onFailedAttempt: ({ error }) => debug('upload: %s', error.message),
    ...(signal && { signal }),
  });
}

/** The session of an earlier push of this file, if the registry still knows it. */
async function resumed(transfer: Transfer): Promise<Upload | undefined> {
  const state = transfer.resume?.load();
  const { registry, repository, digest, location } = state ?? {};
  const isOurs =
    registry === transfer.repository.registry.host &&
    repository === transfer.repository.path &&
    digest === transfer.blob.digest;
  if (!isOurs || typeof location !== 'string' || !URL.canParse(location)) return undefined;
  const session: Upload = { location: new URL(location), offset: 0, minChunk: 0 };
  try {
    await askOffset(transfer, session);
    return session;
  } catch (error) {
    if (error instanceof UploadLost) return undefined;
    throw error;
  }
}

async function sendAll(transfer: Transfer, session: Upload): Promise<void> {
  const { repository, blob, signal, resume } = transfer;
  const save = () =>
    resume?.save({
      registry: repository.registry.host,
      repository: repository.path,
      digest: blob.digest,
      location: session.location.href,
    });
  save();
  while (session.offset < blob.size) {
    const sendChunk = async (attempt: number) => {
      if (attempt > 1) await askOffset(transfer, session);
      if (session.offset < blob.size) await patch(transfer, session);
    };
    await patiently(sendChunk, CHUNK_RETRIES, isTransient, signal);
    save();
  }
  await close(transfer, session);
}

/** Worth asking the registry how far it got: a failure on the way, or its word that the chunk does not fit its count. */
function isTransient(error: unknown): boolean {
  return attemptsWorth(error, true) > 1 || (isError(error) && error.status === 416);
}

async function patch(transfer: Transfer, session: Upload): Promise<void> {
  const { blob, progress, signal } = transfer;
  const { registry } = transfer.repository;
  const start = session.offset;
  const end = Math.min(blob.size, start + Math.max(transfer.chunk ?? CHUNK, session.minChunk));
  const open = () => {
    let done = start;
    return readPart(blob.path, start, end, (bytes) => {
      done += bytes;
      progress?.(done, blob.size);
    });
  };
  const headers = {
    'content-type': 'application/octet-stream',
    'content-length': String(end - start),
    'content-range': `${start}-${end - 1}`,
  };
  const request = registry.http.patch(session.location, { body: open, headers, timeout: Infinity, signal });
  const reply = await knownUpload(request);
  session.location = nextLocation(registry, reply);
  session.offset = acceptedBytes(reply, end - start) ?? end;
  if (session.offset <= start || session.offset > end) await askOffset(transfer, session);
}

/** The bytes of a file from `start` to before `end`; tells how many it gave. */
function readPart(path: string, start: number, end: number, tell: (bytes: number) => void): Readable {
  async function* read() {
    try {
      for await (const chunk of createReadStream(path, { start, end: end - 1, highWaterMark: READ })) {
        tell(chunk.length);
        yield chunk;
      }
    } catch (error) {
      throw fileError('read', path, error);
    }
  }
  return Readable.from(read(), { objectMode: false });
}

/** Sets the session to what the registry has. */
async function askOffset({ repository, blob, signal }: Transfer, session: Upload): Promise<void> {
  const { registry } = repository;
  const reply = await knownUpload(registry.http.get(session.location, { signal }));
  const accepted = acceptedBytes(reply);
  if (accepted === undefined || accepted > blob.size)
    throw new UploadLost(new SregistryError('SERVICE', `${registry.host}: an upload of unknown length`));
  session.offset = accepted;
  if (reply.headers.location !== undefined) session.location = nextLocation(registry, reply);
}

/**
 * `Range: 0-<last byte>` of an upload. `0-0` is one byte, or none: CNCF Distribution says it of an empty upload as well. So it is
 * taken for a byte only where a single one was `sent`.
 */
function acceptedBytes(reply: Reply, sent = 0): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(reply.headers.range ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' && sent !== 1 ? 0 : Number(last) + 1;
}

async function knownUpload(request: Promise<Reply>): Promise<Reply> {
  try {
    return await request;
  } catch (error) {
    throw isError(error) && meansLost(error) ? new UploadLost(error) : error;
  }
}

/** By its code, whatever the status; but 416 only says that a chunk does not fit what the registry has counted. */
function meansLost({ status, message }: SregistryError): boolean {
  return status === 404 || (status !== 416 && /BLOB_UPLOAD_(INVALID|UNKNOWN)/.test(message));
}

/** Closes the upload. The registry compares the digest with what it has received. */
async function close({ repository, blob, signal }: Transfer, session: Upload): Promise<void> {
  const { http } = repository.registry;
  const target = closingLocation(session.location, blob.digest);
  try {
    await knownUpload(http.put(target, { signal, timeout: CLOSE_TIMEOUT, stall: CLOSE_TIMEOUT }));
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    if (isError(error) && error.message.includes('DIGEST_INVALID')) throw corrupt(blob, error);
    // An answer that was lost: the upload may be closed all the same.
    if (!(await hasBlob(repository, blob, signal))) throw error;
    return;
  }
  if (!(await hasBlob(repository, blob, signal)))
    throw new SregistryError('SERVICE', `${referenceOf(repository)}: a blob is not there after its upload`);
}

function corrupt(blob: FileBlob, cause: SregistryError): SregistryError {
  return new SregistryError(
    'CORRUPT',
    `${blob.path}: the registry received other bytes than ${blob.digest}`,
    {
      hint: 'the file may have changed while it was pushed; push it again',
      cause,
    },
  );
}
