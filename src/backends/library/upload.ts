/**
 * Uploads the bytes of an image, as Apptainer's container-library-client (`client/push.go`) does:
 *
 * 1. `POST v2/imagefile/<id>/_multipart {filesize}` returns `{uploadID, totalParts, partSize, options}`.
 * 2. `PUT v2/imagefile/<id>/_multipart {uploadID, partNumber, partSize, sha256sum}` returns the presigned URL of a part.
 * 3. `PUT v2/imagefile/<id>/_multipart_complete {uploadID, completedParts: [{partNumber, token}]}`; `_multipart_abort` discards it.
 *
 * A small image, or a library that answers 404 to step 1, takes one presigned URL from `POST v2/imagefile/<id>`, and then
 * `PUT v2/imagefile/<id>/_complete`.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { hashFile } from '../../base/hash.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import { fileBody } from '../file-body.ts';
import type { Body, Headers } from '../http.ts';
import {
  type ParallelUpload,
  type ParallelUploadOptions,
  type Part,
  uploadInParallel,
} from '../kit/parallel-upload.ts';
import type { HashedFile } from '../kit/store.ts';
import { type Api, send, textOf } from './api.ts';

/** Bytes from which an image is uploaded in parts; libraries refuse uploads in parts below 5 MiB. */
const MULTIPART_FROM = 16 * 1024 * 1024;
/** Milliseconds for the library to join the parts of tens of gigabytes. */
const COMPLETE_TIMEOUT = 600_000;
/** S3 takes no more. */
const MAX_PARTS = 10_000;
const COMPLETING = { timeout: COMPLETE_TIMEOUT, stall: COMPLETE_TIMEOUT };

/** `image` is the image's id. */
export async function uploadFile(
  api: Api,
  image: string,
  file: HashedFile,
  options: ParallelUploadOptions,
): Promise<void> {
  const path = `v2/imagefile/${encodeURIComponent(image)}`;
  const upload = file.size < MULTIPART_FROM ? undefined : await openUpload(api, path, file, options);
  if (upload === undefined) await uploadAtOnce(api, path, file, options);
  else await uploadInParallel(upload, options);
}

async function uploadAtOnce(
  api: Api,
  path: string,
  { path: source, size, digest, md5 = '' }: HashedFile,
  { progress, signal }: ParallelUploadOptions,
): Promise<void> {
  const sha256 = digest.replace(/^sha256:/, '');
  const answer = await send(
    api,
    'POST',
    path,
    { filesize: size, md5sum: md5, sha256sum: sha256 },
    { signal },
  );
  const url = uploadUrl(api, answer.uploadURL, path);
  const checksum = checksumFor(url, sha256, md5);
  await put(api, url, { body: fileBody({ path: source, size }, progress), size, checksum }, signal);
  await send(api, 'PUT', `${path}/_complete`, {}, { signal, ...COMPLETING });
}

/** An upload in parts: that of an interrupted push, or a new one. Undefined if the library does not upload in parts. */
async function openUpload(
  api: Api,
  path: string,
  file: HashedFile,
  { signal, resume }: ParallelUploadOptions,
): Promise<ParallelUpload<void> | undefined> {
  const multipart = `${path}/_multipart`;
  const open = async () =>
    parseOpened(await send(api, 'POST', multipart, { filesize: file.size }, { signal }), file, multipart);
  let fresh: Opened | undefined;
  const earlier = savedUpload(resume?.load(), path, file);
  try {
    if (earlier === undefined) fresh = await open();
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
  const { partSize, checks } = (earlier ?? fresh) as Opened;

  /** The presigned URL of a part, and the part's checksum if the storage compares it. */
  const place = async ({ number, start, end }: Omit<Part, 'path'>, id: string) => {
    const { sha256 } = checks
      ? await hashFile(file.path, ['sha256'], { signal, start, end })
      : { sha256: '' };
    const part = { uploadID: id, partNumber: number, partSize: end - start, sha256sum: sha256 };
    const answer = await send(api, 'PUT', multipart, part, { signal });
    return { url: uploadUrl(api, answer.presignedURL, multipart), sha256 };
  };

  return {
    what: `${api.base.host}: the upload of ${file.path}`,
    file,
    identity: { place: path, checks: String(checks) },
    partSize,
    start: async () => {
      const { id, partSize: now } = fresh ?? (await open());
      fresh = undefined;
      if (now === partSize) return id;
      resume?.save({});
      throw new SregistryError(
        'SERVICE',
        `${multipart}: the library has changed the size of parts; push again`,
      );
    },
    // The library does not list the parts, but gives URLs only for an upload that it knows.
    list: async (id, saved) => {
      try {
        await place({ number: 1, start: 0, end: Math.min(partSize, file.size) }, id);
        return saved;
      } catch (error) {
        if (isError(error) && error.status !== undefined && error.status < 500) return undefined;
        throw error;
      }
    },
    isSame: async () => false,
    send: async (id, part, body, canceled) => {
      const attempt = async () => {
        const { url, sha256 } = await place(part, id);
        const checksum: Headers = sha256 === '' ? {} : { 'x-amz-content-sha256': sha256 };
        const { headers } = await put(api, url, { body, size: part.end - part.start, checksum }, canceled);
        return textOf(headers, 'etag', multipart);
      };
      // The URL may expire before its part is sent.
      return attempt().catch((error) => (isError(error, 'FORBIDDEN') ? attempt() : Promise.reject(error)));
    },
    complete: async (id, parts) => {
      const completedParts = parts.map(({ number, etag }) => ({ partNumber: number, token: etag }));
      const body = { uploadID: id, completedParts };
      await send(api, 'PUT', `${path}/_multipart_complete`, body, { signal, ...COMPLETING });
    },
    abort: async (id, canceled) => {
      await send(api, 'PUT', `${path}/_multipart_abort`, { uploadID: id }, { signal: canceled });
    },
  };
}

interface Opened {
  readonly id: string;
  readonly partSize: number;
  /** Does the storage compare the parts' checksums? */
  readonly checks: boolean;
}

function parseOpened(answer: JsonObject, file: HashedFile, what: string): Opened {
  const { partSize, options } = answer;
  if (!Number.isSafeInteger(partSize) || file.size / Number(partSize) > MAX_PARTS || Number(partSize) <= 0)
    throw new SregistryError('SERVICE', `${what}: the library wants parts of ${partSize} bytes`);
  const compliant = isJsonObject(options) ? options.s3compliant : undefined;
  const checks = compliant === undefined || compliant === '' || compliant === 'true';
  return { id: textOf(answer, 'uploadID', what), partSize: Number(partSize), checks };
}

/** The upload that an interrupted push of this file saved; uploadInParallel checks the rest of what it saved. */
function savedUpload(
  { place, digest, partSize, checks, upload }: Record<string, unknown> = {},
  path: string,
  file: HashedFile,
): Opened | undefined {
  const isOurs = place === path && digest === file.digest && typeof upload === 'string';
  return isOurs && typeof partSize === 'number'
    ? { id: upload, partSize, checks: checks === 'true' }
    : undefined;
}

interface Content {
  readonly body: Body;
  /** Bytes. */
  readonly size: number;
  readonly checksum: Headers;
}

function put({ http }: Api, url: URL, { body, size, checksum }: Content, signal?: AbortSignal) {
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size), ...checksum };
  return http.put(url, { body, headers, timeout: Number.POSITIVE_INFINITY, signal });
}

/** S3 compares `x-amz-content-sha256` only if the URL is signed for it, and `Content-MD5` always. */
function checksumFor(url: URL, sha256: string, md5: string): Headers {
  const signed = url.searchParams.get('X-Amz-SignedHeaders')?.split(';') ?? [];
  if (signed.includes('x-amz-content-sha256')) return { 'x-amz-content-sha256': sha256 };
  return md5 === '' ? {} : { 'content-md5': Buffer.from(md5, 'hex').toString('base64') };
}

function uploadUrl({ base }: Api, given: unknown, what: string): URL {
  const url = typeof given === 'string' ? URL.parse(given, base.href) : null;
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw new SregistryError('SERVICE', `${what}: the library's answer has no usable URL to upload to`);
}
