/**
 * Pushing a file as a blob, as the distribution specification 1.1 describes it ("Pushing a blob in chunks"): an upload
 * session is opened with POST, fed with one PATCH a chunk, and closed with a PUT that states the digest. Every answer gives the
 * address of the next request; a GET of it tells how many bytes the registry has. CNCF Distribution 2.8 gives a session up when the
 * connection breaks within a chunk.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { BufferedResponse } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import {
  type OrderedUpload,
  type OrderedUploadOptions,
  type Received,
  SessionLost,
  uploadInOrder,
} from '../kit/ordered-upload.ts';
import { type Blob, closingLocation, hasBlob, nextLocation, startUpload, type Upload } from './blobs.ts';
import { type Repository, referenceOf } from './registries.ts';

export interface FileBlob extends Blob {
  /** Of the file. */
  readonly path: string;
}

export interface UploadOptions extends Omit<OrderedUploadOptions, 'signal'> {
  /** Bytes per PATCH, unless the registry wants longer ones. Default 64 MiB. */
  readonly chunk?: number | undefined;
}

/** Few enough requests not to matter, small enough for the proxies before registries. */
const CHUNK = 64 * 1024 * 1024;
/** Milliseconds for the registry to close an upload, in which it may compute a digest over tens of gigabytes. */
const CLOSE_TIMEOUT = 600_000;

/** Makes sure that the repository holds the file. Sends nothing that it has already or that can be mounted. */
export async function pushFile(
  repository: Repository,
  blob: FileBlob,
  { chunk, ...options }: UploadOptions = {},
): Promise<void> {
  const { holders, path, signal } = repository;
  if (!(await hasBlob(repository, blob)))
    await uploadInOrder(blobUpload(repository, blob, chunk), { ...options, signal });
  holders.set(blob.digest, path);
  options.progress?.(blob.size, blob.size);
}

function blobUpload(repository: Repository, blob: FileBlob, chunk = CHUNK): OrderedUpload<Upload, void> {
  const { http, host, path, signal } = repository;
  const what = referenceOf(repository);

  /** An answer of a session, or {@link SessionLost}. */
  const known = (request: Promise<BufferedResponse>): Promise<BufferedResponse> =>
    request.catch((error: unknown) => {
      throw isError(error) && meansLost(error) ? new SessionLost(what, error) : error;
    });

  return {
    what,
    file: blob,
    identity: { registry: host, repository: path, digest: blob.digest },
    chunk: ({ minChunk }) => Math.max(chunk, minChunk),
    parse: parseUpload,
    start: async () => {
      const session = await startUpload(repository, blob.digest);
      return session === undefined ? { done: undefined } : { session, offset: 0 };
    },
    ask: async (session) => {
      const reply = await known(http.get(session.location, { signal }));
      const offset = acceptedBytes(reply);
      if (offset === undefined || offset > blob.size)
        throw new SessionLost(what, new SregistryError('SERVICE', 'an upload of unknown length'));
      const location =
        reply.headers.location === undefined ? session.location : nextLocation(repository, reply);
      return { session: { ...session, location }, offset };
    },
    send: async (session, { start, end, body }): Promise<Received<Upload, void>> => {
      const headers = {
        'content-type': 'application/octet-stream',
        'content-length': String(end - start),
        'content-range': `${start}-${end - 1}`,
      };
      const reply = await known(
        http.patch(session.location, { body, headers, timeout: Number.POSITIVE_INFINITY, signal }),
      );
      const location = nextLocation(repository, reply);
      return { session: { ...session, location }, offset: acceptedBytes(reply, end - start) ?? end };
    },
    // The registry compares the digest with what it has received.
    finish: async ({ location }) => {
      const target = closingLocation(location, blob.digest);
      let failure: unknown = new SregistryError('SERVICE', `${what}: a blob is not there after its upload`);
      try {
        await known(http.put(target, { signal, timeout: CLOSE_TIMEOUT, stall: CLOSE_TIMEOUT }));
      } catch (error) {
        if (isError(error, 'CANCELED')) throw error;
        if (isError(error) && error.message.includes('DIGEST_INVALID'))
          throw changedWhilePushed(
            `${blob.path}: the registry received other bytes than ${blob.digest}`,
            error,
          );
        // An answer that was lost: the upload may be closed all the same.
        failure = error;
      }
      if (!(await hasBlob(repository, blob))) throw failure;
    },
    // The registry's word that a chunk does not fit its count.
    isTransient: ({ status }) => status === 416,
  };
}

/** A session that was saved, as it came out of a file. */
function parseUpload(saved: unknown): Upload | undefined {
  if (!isJsonObject(saved)) return undefined;
  const { location, minChunk } = saved;
  if (typeof location !== 'string' || !URL.canParse(location)) return undefined;
  return { location, minChunk: typeof minChunk === 'number' ? minChunk : 0 };
}

/**
 * `Range: 0-<last byte>` of an upload. `0-0` is one byte, or none: CNCF Distribution says it of an empty upload as well. So it is
 * taken for a byte only where a single one was `sent`.
 */
function acceptedBytes(reply: BufferedResponse, sent = 0): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(reply.headers.range ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' && sent !== 1 ? 0 : Number(last) + 1;
}

/** By its code, whatever the status; but 416 only says that a chunk does not fit what the registry has counted. */
function meansLost({ status, message }: SregistryError): boolean {
  return status === 404 || (status !== 416 && /BLOB_UPLOAD_(INVALID|UNKNOWN)/.test(message));
}
