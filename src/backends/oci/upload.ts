/**
 * Pushes a file as a blob ("Pushing a blob in chunks", OCI distribution specification 1.1). A POST opens an upload session, a
 * PATCH sends each chunk, and a PUT with the digest closes the session. Every reply gives the address of the next request; a GET
 * of it returns how many bytes the registry has. CNCF Distribution 2.8 drops a session if the connection breaks within a chunk.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { Blob } from '../backend.ts';
import type { BufferedResponse } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import {
  type OrderedUpload,
  type OrderedUploadOptions,
  type Received,
  SessionLost,
  uploadInOrder,
} from '../kit/ordered-upload.ts';
import { closingLocation, hasBlob, nextLocation, startUpload, type Upload } from './blobs.ts';
import { type Repository, referenceOf } from './registries.ts';

export interface FileBlob extends Blob {
  /** Path of the file. */
  readonly path: string;
}

export interface UploadOptions extends Omit<OrderedUploadOptions, 'signal'> {
  /** Bytes per PATCH, unless the registry requires more. Default 64 MiB. */
  readonly chunk?: number | undefined;
}

/** Large enough for few requests, small enough for the proxies before registries. */
const CHUNK = 64 * 1024 * 1024;
/** Milliseconds for the registry to close an upload, while it may compute a digest of tens of gigabytes. */
const CLOSE_TIMEOUT = 600_000;

/** Makes sure that the repository holds the file. Sends nothing if it does already or can mount it. */
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

  /** The reply to a request of a session. Throws {@link SessionLost} if the registry does not know it. */
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
        throw new SessionLost(what, new SregistryError('SERVICE', 'the upload has no known size'));
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
      let failure: unknown = new SregistryError('SERVICE', `${what}: the uploaded blob does not exist`);
      try {
        await known(http.put(target, { signal, timeout: CLOSE_TIMEOUT, stall: CLOSE_TIMEOUT }));
      } catch (error) {
        if (isError(error, 'CANCELED')) throw error;
        if (isError(error) && error.message.includes('DIGEST_INVALID'))
          throw changedWhilePushed(
            `${blob.path}: the registry received different bytes than ${blob.digest}`,
            error,
          );
        // The reply may be lost although the upload was closed.
        failure = error;
      }
      if (!(await hasBlob(repository, blob))) throw failure;
    },
    // 416 says that a chunk does not continue what the registry has counted.
    isTransient: ({ status }) => status === 416,
  };
}

/** A session that was saved in a file; undefined if it is malformed. */
function parseUpload(saved: unknown): Upload | undefined {
  if (!isJsonObject(saved)) return undefined;
  const { location, minChunk } = saved;
  if (typeof location !== 'string' || !URL.canParse(location)) return undefined;
  return { location, minChunk: typeof minChunk === 'number' ? minChunk : 0 };
}

/**
 * Reads `Range: 0-<last byte>` of an upload. `0-0` means one byte, but CNCF Distribution also sends it for an empty upload. So it
 * counts as a byte only if a single one was `sent`.
 */
function acceptedBytes(reply: BufferedResponse, sent = 0): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(reply.headers.range ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' && sent !== 1 ? 0 : Number(last) + 1;
}

/** Whether the session is lost: 404, or a code with any status but 416, which only rejects a chunk. */
function meansLost({ status, message }: SregistryError): boolean {
  return status === 404 || (status !== 416 && /BLOB_UPLOAD_(INVALID|UNKNOWN)/.test(message));
}
