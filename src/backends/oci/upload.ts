/**
 * Pushes a file as a blob ("Pushing a blob in chunks", OCI distribution specification 1.1). A POST opens an upload session, a
 * PATCH sends each chunk, and a PUT with the digest closes the session. Every reply gives the address of the next request; a GET
 * of it returns how many bytes the registry has. CNCF Distribution 2.8 drops a session if the connection breaks within a chunk.
 *
 * Only the PUT needs the digest, so a large file goes up while a thread computes it (ahead.ts). The registry compares the digest with
 * the bytes that it received, so a file that changes in between is never stored.
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
import { digestAhead, type FileDigest, type FileToPush } from './ahead.ts';
import { abandonUpload, closingLocation, hasBlob, nextLocation, startUpload, type Upload } from './blobs.ts';
import { type Repository, referenceOf } from './registries.ts';

export interface UploadOptions extends Omit<OrderedUploadOptions, 'signal'> {
  /** Bytes per PATCH, unless the registry requires more. Default 64 MiB. */
  readonly chunk?: number | undefined;
  /** See {@link digestAhead}. */
  readonly hashFirst?: number | undefined;
}

/** Large enough for few requests, small enough for the proxies before registries. */
const CHUNK = 64 * 1024 * 1024;
/** Milliseconds for the registry to close an upload, while it may compute a digest of tens of gigabytes. */
const CLOSE_TIMEOUT = 600_000;

/**
 * Makes sure that the repository holds the file, and returns its digest. Sends nothing if the digest is known, or soon computed, and the
 * registry has the blob or can mount it. The upload of a larger file begins at once, and ends when its digest shows that it is not needed.
 */
export async function pushFile(
  repository: Repository,
  file: FileToPush,
  { chunk, hashFirst, ...options }: UploadOptions = {},
): Promise<string> {
  await using hash = await digestAhead(file, { hashFirst, signal: repository.signal });
  // Not without await: the hashing ends with this function.
  return await pushHashed(repository, { file, hash, chunk }, options);
}

/** As {@link pushFile}, with a digest that is being computed. */
export async function pushHashed(
  repository: Repository,
  upload: FileUpload,
  options: Omit<OrderedUploadOptions, 'signal'> = {},
): Promise<string> {
  const { holders, path, signal } = repository;
  const { hash } = upload;
  const { size } = upload.file;
  if (hash.known === undefined || !(await hasBlob(repository, { digest: hash.known, size })))
    await uploadInOrder(blobUpload(repository, upload), { ...options, signal });
  const digest = await hash.get();
  holders.set(digest, path);
  options.progress?.(size, size);
  return digest;
}

export interface FileUpload {
  readonly file: FileToPush;
  readonly hash: FileDigest;
  /** See {@link UploadOptions}. */
  readonly chunk?: number | undefined;
}

function blobUpload(
  repository: Repository,
  { file, hash, chunk = CHUNK }: FileUpload,
): OrderedUpload<Upload, void> {
  const { http, host, path, signal } = repository;
  const { size } = file;
  const what = referenceOf(repository);

  /** The reply to a request of a session. Throws {@link SessionLost} if the registry does not know it. */
  const known = (request: Promise<BufferedResponse>): Promise<BufferedResponse> =>
    request.catch((error: unknown) => {
      throw isError(error) && meansLost(error) ? new SessionLost(what, error) : error;
    });

  /** A digest that was known at the beginning was looked for then. */
  let wasSought = hash.known !== undefined;
  /** Once, when the digest has become known: does the registry have the blob, or mount it? */
  const isThere = async (): Promise<boolean> => {
    const { known: digest } = hash;
    if (wasSought || digest === undefined) return false;
    const isFound = (await hasBlob(repository, { digest, size })) || (await mounts(repository, digest));
    wasSought = true;
    return isFound;
  };

  return {
    what,
    file,
    // The PUT compares the whole blob, so it does no harm to continue the upload of a file that only looks the same.
    identity: {
      registry: host,
      repository: path,
      ...(hash.revision === undefined ? { digest: hash.known } : { revision: hash.revision }),
    },
    chunk: ({ minChunk }) => Math.max(chunk, minChunk),
    parse: parseUpload,
    start: async () => {
      if (await isThere()) return { done: undefined };
      const session = await startUpload(repository, hash.known);
      return session === undefined ? { done: undefined } : { session, offset: 0 };
    },
    ask: async (session) => {
      const reply = await known(http.get(session.location, { signal }));
      const offset = acceptedBytes(reply);
      if (offset === undefined || offset > size)
        throw new SessionLost(what, new SregistryError('SERVICE', 'the upload has no known size'));
      const location =
        reply.headers.location === undefined ? session.location : nextLocation(repository, reply);
      return { session: { ...session, location }, offset };
    },
    send: async (session, { start, end, body }): Promise<Received<Upload, void>> => {
      if (await isThere()) {
        await abandonUpload(repository, session);
        return { done: undefined };
      }
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
      const digest = await hash.get();
      const target = closingLocation(location, digest);
      let failure: unknown = new SregistryError('SERVICE', `${what}: the uploaded blob does not exist`);
      try {
        await known(http.put(target, { signal, timeout: CLOSE_TIMEOUT, stall: CLOSE_TIMEOUT }));
      } catch (error) {
        if (isError(error, 'CANCELED')) throw error;
        if (isError(error) && error.message.includes('DIGEST_INVALID'))
          throw changedWhilePushed(
            `${file.path}: the registry received different bytes than ${digest}`,
            error,
          );
        // The reply may be lost although the upload was closed.
        failure = error;
      }
      if (!(await hasBlob(repository, { digest, size }))) throw failure;
    },
    // 416 says that a chunk does not continue what the registry has counted.
    isTransient: ({ status }) => status === 416,
  };
}

/** Has the registry mounted the blob from another repository that is known to hold it? */
async function mounts(repository: Repository, digest: string): Promise<boolean> {
  if (!repository.holders.has(digest)) return false;
  const session = await startUpload(repository, digest);
  if (session !== undefined) await abandonUpload(repository, session);
  return session === undefined;
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
