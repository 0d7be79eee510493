/** Stores objects: with one request, or in segments. The service compares the MD5 of every request with its bytes. */
import { createHash } from 'node:crypto';
import { isError, SregistryError } from '../../base/errors.ts';
import { hashFile } from '../../base/hash.ts';
import type { BufferedResponse, Headers, RequestOptions } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { type PartList, type StoredPart, uploadInParallel } from '../kit/parallel-upload.ts';
import type { PutOptions, SourceFile } from '../kit/store.ts';
import type { Account } from './account.ts';
import { toHeaders } from './metadata.ts';
import { headObject, opaque, partsOf, type StoredObject, toObject } from './objects.ts';
import {
  deleteAbandoned,
  deleteReplaced,
  deleteSegments,
  isId,
  listSegments,
  mark,
  newId,
  pushesIn,
  type Segment,
  segmentKey,
  unmark,
} from './segments.ts';

const MEBIBYTE = 1024 * 1024;
/** The largest object without segments, in bytes (`max_file_size`; the default of Swift and Ceph). */
const LARGEST = 5 * 1024 * MEBIBYTE;
/** Most segments of a manifest (`max_manifest_segments`; the default). */
const MOST_SEGMENTS = 1000;
/** Milliseconds of silence while the service looks at every segment of a manifest. */
const MANIFEST_STALL = 300_000;
const CONDITION = { 'if-none-match': '*' };

/** A new object. */
interface NewObject extends Pick<PutOptions, 'ifAbsent' | 'signal'> {
  readonly account: Account;
  readonly key: string;
  readonly size: number;
  /** Headers of the object. */
  readonly headers: Headers;
}

/** A push in progress. */
interface Putting extends NewObject, PutOptions {
  readonly file: SourceFile;
}

export async function putObject(
  account: Account,
  key: string,
  file: SourceFile,
  options: PutOptions,
): Promise<StoredObject> {
  const headers = { 'content-type': 'application/octet-stream', ...toHeaders(options.metadata) };
  const putting: Putting = { ...options, account, key, file, size: file.size, headers };
  const segment = Math.min(account.options.segment ?? LARGEST, LARGEST) || LARGEST;
  if (file.size > segment) return putInSegments(putting, segment);
  const before = await pushesIn(account, key, options.signal);
  const stored = await putWhole(putting);
  await deleteReplaced(account, key, before ?? [], options.signal);
  return stored;
}

export async function putSmall(account: Account, key: string, body: Buffer, signal?: AbortSignal) {
  const headers = { 'content-type': 'application/json', etag: createHash('md5').update(body).digest('hex') };
  await putInContainer(account, key, { body, headers, signal });
}

async function putWhole(putting: Putting): Promise<StoredObject> {
  const { account, key, file, size, headers, ifAbsent, signal } = putting;
  const { md5 = '' } = file;
  const reply = await putInContainer(account, key, {
    headers: { ...headers, etag: md5, 'content-length': String(size), ...(ifAbsent && CONDITION) },
    body: file.open,
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
  return storedBy(reply, putting);
}

/** Sends a PUT, and creates the container if it is missing. */
async function putInContainer(
  account: Account,
  key: string,
  options: RequestOptions,
): Promise<BufferedResponse> {
  const { container } = partsOf(key);
  const put = async () => {
    await account.ensure(container, options.signal);
    return account.request('PUT', key, options);
  };
  try {
    return await put().catch((error: unknown) => {
      if (!isError(error, 'NOT_FOUND')) throw error;
      account.forget(container);
      return put();
    });
  } catch (error) {
    if (!isError(error) || error.status !== 422) throw error;
    throw changedWhilePushed(
      `${account.show(key)}: the service received other bytes than the file has`,
      error,
    );
  }
}

/** The object that a PUT has stored, as its reply describes it. */
async function storedBy(
  { headers: answered }: BufferedResponse,
  { account, key, size, headers, signal }: NewObject,
): Promise<StoredObject> {
  if (answered.etag && answered['last-modified'])
    return toObject(key, size, { ...lowerCase(headers), ...answered });
  const found = await headObject(account, key, signal, true);
  if (found !== undefined) return found;
  throw new SregistryError('SERVICE', `${account.show(key)}: not found after it was stored`);
}

const lowerCase = (headers: Headers): Headers =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

/** Sends the file in segments, and then their manifest. */
async function putInSegments(putting: Putting, segment: number): Promise<StoredObject> {
  const { account, key, file, signal } = putting;
  const least = Math.ceil(file.size / MOST_SEGMENTS / MEBIBYTE) * MEBIBYTE;
  const partSize = file.size > segment * MOST_SEGMENTS ? least : segment;
  const count = Math.ceil(file.size / partSize);
  await account.ensure(partsOf(key).container, signal);
  // Whether the service may still act on the manifest, so that the segments must stay.
  let isInDoubt = false;
  return uploadInParallel(
    {
      what: account.show(key),
      file,
      identity: { target: account.target, key },
      partSize,
      start: async () => newId(),
      opened: async (id) => {
        await mark(account, key, id, signal);
        await deleteAbandoned(account, key, id, signal);
      },
      list: (id, saved) => presentSegments(putting, id, saved),
      isSame: async (etag, { path, start, end }) =>
        opaque(etag) === (await hashFile(path, ['md5'], { start, end, signal })).md5,
      send: async (id, { number, path, start, end }, body, canceled) => {
        const { md5 } = await hashFile(path, ['md5'], { start, end, signal: canceled });
        await putInContainer(account, segmentKey(key, id, number), {
          headers: { etag: md5, 'content-length': String(end - start) },
          body,
          timeout: Number.POSITIVE_INFINITY,
          signal: canceled,
        });
        return md5;
      },
      complete: async (id, parts) => {
        const segments = parts.map(({ number, etag }) => toSegment(putting, partSize, id, { number, etag }));
        isInDoubt = true;
        try {
          return await putManifest(putting, id, segments);
        } catch (error) {
          isInDoubt = !isError(error) || error.status === undefined || error.status >= 500;
          throw error;
        }
      },
      abort: async (id, limit) => {
        if (!isInDoubt) await deleteSegments(account, key, id, { count, signal: limit });
      },
    },
    putting,
  );
}

function toSegment(
  { key, file }: Putting,
  partSize: number,
  id: string,
  { number, etag }: StoredPart,
): Segment {
  const size = Math.min(partSize, file.size - (number - 1) * partSize);
  return { path: `/${segmentKey(key, id, number)}`, etag: opaque(etag), size };
}

/** The segments that the service has of an earlier push; undefined if that is lost. A listing may not have the last ones yet. */
async function presentSegments(
  { account, key, signal }: Putting,
  id: string,
  saved: PartList,
): Promise<PartList | undefined> {
  if (!isId(id)) return undefined;
  const found = new Map<number, { readonly etag: string; readonly size: number }>(
    await listSegments(account, key, id, signal),
  );
  for (const number of saved.keys()) {
    const segment = found.has(number)
      ? undefined
      : await headObject(account, segmentKey(key, id, number), signal, true);
    if (segment?.md5 !== undefined) found.set(number, { etag: segment.md5, size: segment.size });
  }
  return found;
}

/** Puts the manifest of a push, and then deletes the segments that the object had before. */
export async function putManifest(
  made: NewObject,
  id: string,
  segments: readonly Segment[],
): Promise<StoredObject> {
  const { account, key, headers, ifAbsent, signal } = made;
  // Older Ceph ignores the condition.
  if (ifAbsent && (await headObject(account, key, signal, true)) !== undefined)
    throw new SregistryError('EXISTS', `${account.show(key)} exists already`);
  const before = (await pushesIn(account, key, signal)) ?? new Set();
  before.delete(id);
  const reply = await account.request('PUT', key, {
    query: { 'multipart-manifest': 'put' },
    json: segments.map(({ path, etag, size }) => ({ path, etag, size_bytes: size })),
    headers: {
      ...headers,
      ...toHeaders({ push: id }),
      accept: 'application/json',
      ...(ifAbsent && CONDITION),
    },
    stall: MANIFEST_STALL,
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
  const stored = await storedBy(reply, { ...made, headers: { ...headers, 'x-static-large-object': 'True' } });
  if (stored.revision !== tagOf(segments))
    throw changedWhilePushed(`${account.show(key)}: the service stored other segments than were sent`);
  // A push at the same time may have replaced this manifest already, without having seen it.
  const now = await pushesIn(account, key, signal);
  if (now?.has(id)) await unmark(account, key, id, signal);
  else before.add(id);
  await deleteReplaced(account, key, before, signal);
  return stored;
}

/** The entity tag of an object with these segments. */
export function tagOf(segments: readonly Segment[]): string {
  return createHash('md5')
    .update(segments.map(({ etag }) => etag).join(''))
    .digest('hex');
}
