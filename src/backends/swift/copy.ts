/** Copies objects within an account. A copy of an object in segments gets segments of its own. */
import pMap from 'p-map';
import { SregistryError } from '../../base/errors.ts';
import type { Headers } from '../http.ts';
import { encodeKey } from '../kit/signed-address.ts';
import type { CopyOptions } from '../kit/store.ts';
import type { Account } from './account.ts';
import { toHeaders } from './metadata.ts';
import { headObject, type ObjectRef, opaque, partsOf, type StoredObject } from './objects.ts';
import { putManifest } from './put.ts';
import {
  deleteReplaced,
  deleteSegments,
  mark,
  newId,
  pushesIn,
  readManifest,
  segmentKey,
} from './segments.ts';

/** Segments copied at once. */
const CONCURRENCY = 4;
/** Milliseconds of silence while the service copies. */
const WORK_STALL = 600_000;

export async function copyObject(
  account: Account,
  from: ObjectRef,
  key: string,
  { metadata, signal }: CopyOptions,
): Promise<StoredObject> {
  const source = await headObject(account, from.key, signal, true);
  const isSame = source && opaque(source.ref.etag ?? '') === opaque(from.etag ?? '');
  if (!isSame) throw new SregistryError('STALE', `${account.show(from.key)} has been replaced or removed`);
  await account.ensure(partsOf(key).container, signal);
  const headers = { 'content-type': 'application/octet-stream', ...toHeaders(metadata) };
  if (source.isSegmented) return copySegments({ account, source, key, headers, signal });
  const before = await pushesIn(account, key, signal);
  await copyOne(account, from.key, key, { 'x-fresh-metadata': 'true', ...headers }, signal);
  const stored = await headObject(account, key, signal, true);
  await deleteReplaced(account, key, before ?? [], signal);
  // An object without an MD5 of its own gets one by the copy.
  if (stored?.size === source.size && (source.md5 === undefined || stored.md5 === source.md5)) return stored;
  throw new SregistryError('STALE', `${account.show(from.key)} was replaced while it was copied`);
}

interface Copying {
  readonly account: Account;
  readonly source: StoredObject;
  readonly key: string;
  readonly headers: Headers;
  readonly signal: AbortSignal | undefined;
}

async function copySegments({ account, source, key, headers, signal }: Copying): Promise<StoredObject> {
  const segments = await readManifest(account, source.key, signal);
  const id = newId();
  await mark(account, key, id, signal);
  const copies = segments.map((segment, i) => ({ ...segment, path: `/${segmentKey(key, id, i + 1)}` }));
  try {
    await pMap(
      segments,
      ({ path }, i) => copyOne(account, path.slice(1), segmentKey(key, id, i + 1), {}, signal),
      { concurrency: CONCURRENCY },
    );
  } catch (error) {
    await deleteSegments(account, key, id, { count: segments.length }).catch(() => {});
    throw error;
  }
  // The manifest states the entity tags of the original: the service refuses it if a copy differs.
  return putManifest({ account, key, size: source.size, headers, signal }, id, copies);
}

async function copyOne(account: Account, from: string, to: string, headers: Headers, signal?: AbortSignal) {
  await account.request('COPY', from, {
    headers: { destination: encodeKey(to), ...headers },
    idempotent: true,
    stall: WORK_STALL,
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
}
