/**
 * Large objects (docs.openstack.org/swift/latest/overview_large_objects.html, "Static Large Objects"): segments, and a manifest under the
 * object's own name that lists them. The segments of a push are `<container>_segments/<object>/<id of the push>/<number>`. Beside them,
 * a marker says that the push is not complete: what lies beside an old marker, and no manifest names, was abandoned.
 *
 * Segments are deleted only if the newest manifest, as every replica knows it, does not name them.
 */
import pMap from 'p-map';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
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

/** The segments that the object's newest manifest names; none if it has no manifest. */
export async function readManifest(account: Account, key: string, signal?: AbortSignal): Promise<Segment[]> {
  const present = await headObject(account, key, signal, true);
  if (!present?.isSegmented) return [];
  const reply = await account.request('GET', key, {
    query: { 'multipart-manifest': 'get', format: 'json' },
    headers: { 'x-newest': 'true' },
    signal,
  });
  const entries = reply.json();
  const malformed = new SregistryError('SERVICE', `${account.show(key)}: a malformed manifest`);
  if (!Array.isArray(entries)) throw malformed;
  return entries.map(({ name, path = name, hash, etag = hash, bytes, size_bytes = bytes, range }) => {
    const isWhole = typeof path === 'string' && typeof etag === 'string' && Number.isSafeInteger(size_bytes);
    if (!isWhole || /(^|\/)\.{1,2}(\/|$)/.test(path)) throw malformed;
    if (range !== undefined)
      throw new SregistryError('UNSUPPORTED', `${account.show(key)}: its manifest names parts of segments`);
    return { path: path.replace(/^\/?/, '/'), etag: opaque(etag), size: size_bytes };
  });
}

/** The ids of pushes whose segments a manifest names. */
export function idsIn(manifest: readonly Segment[], key: string): Set<string> {
  const { container, folder } = segmentsOf(key);
  const prefix = `/${container}/${folder}`;
  const ids = manifest
    .filter(({ path }) => path.startsWith(prefix))
    .map(({ path }) => path.slice(prefix.length).split('/')[0] ?? '');
  return new Set(ids.filter(isId));
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
  if (idsIn(await readManifest(account, key, signal), key).has(id)) return unmark(account, key, id, signal);
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
