/**
 * Large objects (docs.openstack.org/swift/latest/overview_large_objects.html, "Static Large Objects"): segments, and a manifest under the
 * object's own name that lists them. The segments of a push are `<container>_segments/<object>/<id of the push>/<number>`. Beside them,
 * a marker says that the push is not complete: what lies beside an old marker, and no manifest names, was abandoned.
 *
 * Segments are deleted only if the newest manifest, as every replica knows it, does not name them. Ceph does not show its manifests;
 * there, the object's metadata name the push.
 */
import pMap from 'p-map';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import { isJsonObject, isSize } from '../../settings/json.ts';
import { unlessAbsent } from '../kit/absent.ts';
import type { Account } from './account.ts';
import { headObject, listEntries, opaque, partsOf } from './objects.ts';

const debug = debugLog('swift');

/** Milliseconds after which an unfinished push counts as abandoned. */
const ABANDONED = 24 * 3600 * 1000;
/** Requests sent at once. */
const CONCURRENCY = 8;
/** The ids of {@link newId}. They come from saved state and from listings. */
const ID = /^[0-9]{13}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const newId = () => `${Date.now()}-${crypto.randomUUID()}`;
export const isId = (id: string) => ID.test(id);

export interface Segment {
  /** `/container/object` */
  readonly path: string;
  readonly etag: string;
  readonly size: number;
}

/** The container of the segments of a key, and the folder in it. */
export function segmentsOf(key: string): { readonly container: string; readonly folder: string } {
  const { container, object } = partsOf(key);
  return { container: `${container}_segments`, folder: `${object}/` };
}

/** The key of a segment of a push. */
export function segmentKey(key: string, id: string, number: number): string {
  const { container, folder } = segmentsOf(key);
  return `${container}/${folder}${id}/${String(number).padStart(8, '0')}`;
}

const markerKey = (key: string, id: string) => {
  const { container, folder } = segmentsOf(key);
  return `${container}/${folder}${id}/unfinished`;
};

/** Marks a push as not complete, from now on. */
export async function mark(account: Account, key: string, id: string, signal?: AbortSignal): Promise<void> {
  await account.ensure(segmentsOf(key).container, signal);
  await account.request('PUT', markerKey(key, id), { headers: { 'content-length': '0' }, body: '', signal });
}

export async function unmark(account: Account, key: string, id: string, signal?: AbortSignal): Promise<void> {
  await account.request('DELETE', markerKey(key, id), { allow: [404], signal });
}

/**
 * The segments that the object's newest manifest names; none if it has no manifest.
 *
 * @throws {SregistryError} UNSUPPORTED if the service does not show manifests.
 */
export async function readManifest(account: Account, key: string, signal?: AbortSignal): Promise<Segment[]> {
  const present = await headObject(account, key, signal, true);
  if (!present?.isSegmented) return [];
  try {
    return await readSegments(account, key, signal);
  } catch (error) {
    const { push = '' } = present.metadata ?? {};
    if (!isError(error, 'UNSUPPORTED') || !isId(push)) throw error;
    const listed = [...(await listSegments(account, key, push, signal)).entries()].sort(([a], [b]) => a - b);
    const segments = listed.map(([, { key: path, ...rest }]) => ({ path: `/${path}`, ...rest }));
    // A listing may lag behind.
    if (segments.reduce((sum, { size }) => sum + size, 0) !== present.size) throw error;
    return segments;
  }
}

async function readSegments(account: Account, key: string, signal?: AbortSignal): Promise<Segment[]> {
  const query = { 'multipart-manifest': 'get', format: 'json' };
  const reply = await account.request('GET', key, { query, headers: { 'x-newest': 'true' }, signal });
  if (reply.bytes.length === 0)
    throw new SregistryError('UNSUPPORTED', `${account.show(key)}: the service does not show its manifest`);
  const entries = reply.json();
  const malformed = new SregistryError('SERVICE', `${account.show(key)}: its manifest is malformed`);
  if (!Array.isArray(entries) || !entries.every(isJsonObject)) throw malformed;
  return entries.map(({ name: path, hash: etag, bytes: size, range }) => {
    if (typeof path !== 'string' || typeof etag !== 'string' || !isSize(size)) throw malformed;
    if (!/^\/[^/]+\/./.test(path) || /\/\.{1,2}(\/|$)/.test(path)) throw malformed;
    if (range !== undefined)
      throw new SregistryError('UNSUPPORTED', `${account.show(key)}: its manifest names parts of segments`);
    return { path, etag: opaque(etag), size };
  });
}

/** The ids of the pushes whose segments the object's newest manifest names; undefined if the service does not say. */
export async function pushesIn(
  account: Account,
  key: string,
  signal?: AbortSignal,
): Promise<Set<string> | undefined> {
  const present = await headObject(account, key, signal, true);
  if (!present?.isSegmented) return new Set();
  const { container, folder } = segmentsOf(key);
  const prefix = `/${container}/${folder}`;
  try {
    const paths = (await readSegments(account, key, signal)).map(({ path }) => path);
    const ours = paths.filter((path) => path.startsWith(prefix));
    return new Set(ours.map((path) => path.slice(prefix.length).split('/')[0] ?? '').filter(isId));
  } catch (error) {
    if (!isError(error, 'UNSUPPORTED')) throw error;
    const { push = '' } = present.metadata ?? {};
    return isId(push) ? new Set([push]) : undefined;
  }
}

/** The segments of a push that are listed, by number. A listing may lag behind. */
export async function listSegments(
  account: Account,
  key: string,
  id: string,
  signal?: AbortSignal,
): Promise<Map<number, { etag: string; size: number; key: string }>> {
  const { container, folder } = segmentsOf(key);
  const prefix = `${folder}${id}/`;
  const found = new Map<number, { etag: string; size: number; key: string }>();
  for await (const entries of listEntries(account, container, { prefix }, signal)) {
    for (const { name, hash, bytes } of entries) {
      const number = /^\d{8}$/.exec(String(name).slice(prefix.length))?.[0];
      if (number !== undefined && typeof hash === 'string')
        found.set(Number(number), { etag: hash, size: Number(bytes), key: `${container}/${name}` });
    }
  }
  return found;
}

/**
 * Deletes the segments of a push unless the object's manifest names them. `count` segments are deleted even if no listing has them yet.
 */
export async function deleteSegments(
  account: Account,
  key: string,
  id: string,
  { count = 0, signal }: { readonly count?: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const used = await pushesIn(account, key, signal);
  if (used === undefined) return;
  if (used.has(id)) return unmark(account, key, id, signal);
  const listed = (await unlessAbsent(listSegments(account, key, id, signal))) ?? new Map();
  const numbers = new Set([...listed.keys(), ...Array.from({ length: count }, (_, i) => i + 1)]);
  const remove = (number: number) =>
    account.request('DELETE', segmentKey(key, id, number), { allow: [404], signal });
  await pMap(numbers, remove, { concurrency: CONCURRENCY });
  await unmark(account, key, id, signal);
}

/** Like {@link deleteSegments}, for pushes whose segments a new manifest has replaced. Their failure is not that of the new push. */
export async function deleteReplaced(
  account: Account,
  key: string,
  ids: Iterable<string>,
  signal?: AbortSignal,
): Promise<void> {
  for (const id of ids) {
    await deleteSegments(account, key, id, { signal }).catch((error: unknown) => {
      debug('cannot delete the segments %s of %s: %s', id, key, describeError(error));
    });
  }
}

/** Deletes the segments of pushes of this object that were abandoned more than a day ago. */
export async function deleteAbandoned(
  account: Account,
  key: string,
  own: string,
  signal?: AbortSignal,
): Promise<void> {
  const { container, folder } = segmentsOf(key);
  try {
    const query = { prefix: folder, delimiter: '/' };
    for await (const entries of listEntries(account, container, query, signal)) {
      for (const { subdir } of entries) {
        const id = String(subdir).slice(folder.length, -1);
        if (id === own || !isId(id)) continue;
        const marker = await headObject(account, markerKey(key, id), signal, true);
        if (marker?.modified === undefined || Date.now() - marker.modified.getTime() < ABANDONED) continue;
        debug('deleting the abandoned segments %s of %s', id, key);
        await deleteSegments(account, key, id, { signal });
      }
    }
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('cannot delete abandoned segments of %s: %s', key, describeError(error));
  }
}
