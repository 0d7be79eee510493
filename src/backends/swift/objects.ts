/** The objects of an account as files of a store. HEAD describes one object; a listing describes many, without their metadata. */
import type { Readable } from 'node:stream';
import { parseDate } from '../../base/date.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject, isSize } from '../../settings/json.ts';
import type { Headers } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import type { FileRef, ListedFile, Page, Range, StoredFile } from '../kit/store.ts';
import type { Account } from './account.ts';
import { fromHeaders } from './metadata.ts';

export interface ObjectRef extends FileRef {
  /** As the service writes it. */
  readonly etag?: string;
  /** `Last-Modified`, of an object in segments: it may have no entity tag, or one that the service does not compare. */
  readonly modified?: string;
}

export interface StoredObject extends StoredFile {
  readonly ref: ObjectRef;
  /** Does a manifest name its segments? */
  readonly isSegmented: boolean;
}

/** The container of a key, and the object in it. */
export function partsOf(key: string): { readonly container: string; readonly object: string } {
  const slash = key.indexOf('/');
  return slash < 0
    ? { container: key, object: '' }
    : { container: key.slice(0, slash), object: key.slice(slash + 1) };
}

/** An entity tag without its quotes. */
export const opaque = (etag: string) => etag.replace(/^"(.*)"$/, '$1');

/** The MD5 of nothing. */
const EMPTY = 'd41d8cd98f00b204e9800998ecf8427e';
const MD5 = /^[0-9a-f]{32}$/;

/** What the service says of an object; undefined if there is none. `newest` asks every replica. */
export async function headObject(
  account: Account,
  key: string,
  signal?: AbortSignal,
  newest = false,
): Promise<StoredObject | undefined> {
  const headers = newest ? { 'x-newest': 'true' } : {};
  const reply = await unlessAbsent(account.request('HEAD', key, { headers, signal }));
  if (reply === undefined) return undefined;
  const { etag, 'last-modified': modified, 'content-length': length } = reply.headers;
  const size = Number(length ?? Number.NaN);
  if (!Number.isSafeInteger(size) || (etag ?? modified) === undefined)
    throw new SregistryError('SERVICE', `${account.show(key)}: the reply has no size or no ETag`, {
      hint: 'check that the address is that of an account of Swift',
    });
  return toObject(key, size, reply.headers);
}

/** The object that the headers of a reply describe. */
export function toObject(key: string, size: number, headers: Headers): StoredObject {
  const { etag, 'last-modified': modified } = headers;
  const isSegmented = /^true$/i.test(headers['x-static-large-object'] ?? '');
  const isPlain = !isSegmented && headers['x-object-manifest'] === undefined;
  const tag = etag && opaque(etag);
  return {
    key,
    size,
    modified: parseDate(modified),
    revision: tag || `${modified} ${size}`,
    ref: { key, ...(etag && { etag }), ...(!isPlain && modified && { modified }) },
    metadata: fromHeaders(headers),
    md5: isPlain && tag && MD5.test(tag) ? tag : undefined,
    isSegmented,
  };
}

/** An entry of a listing, as the service sends it. */
interface Entry {
  readonly name?: unknown;
  readonly subdir?: unknown;
  readonly bytes?: unknown;
  readonly hash?: unknown;
  readonly last_modified?: unknown;
  /** Entity tag of an object in segments, whose `hash` is that of its manifest. */
  readonly slo_etag?: unknown;
}

/**
 * The pages of a listing: of the account, or of the objects in a container. A page may be shorter than the service's own limit, so
 * only an empty one is the end.
 */
export function listEntries(
  account: Account,
  container: string,
  query: { readonly prefix?: string; readonly delimiter?: string },
  signal?: AbortSignal,
): AsyncGenerator<readonly Entry[]> {
  const what = container === '' ? account.target : account.show(container);
  return followPages<readonly Entry[], string>(what, async (marker) => {
    const options = { query: { ...query, format: 'json', marker }, signal };
    const reply = await account.request('GET', container, options);
    const page = reply.status === 204 ? [] : reply.json();
    if (!Array.isArray(page) || !page.every(isJsonObject))
      throw new SregistryError('SERVICE', `${what}: the service sent a malformed listing`);
    const last: Entry | undefined = page.at(-1);
    const next = last?.name ?? last?.subdir;
    return { page, next: typeof next === 'string' ? next : undefined };
  });
}

/** The containers, or the files and folders in a folder of one. */
export async function* listFolder(
  account: Account,
  folder: string,
  signal?: AbortSignal,
): AsyncGenerator<Page> {
  if (folder === '') return yield* listContainers(account, signal);
  const { container, object: prefix } = partsOf(folder);
  let isEmpty = prefix !== '';
  const query = { delimiter: '/', ...(prefix && { prefix }) };
  for await (const entries of listEntries(account, container, query, signal)) {
    if (entries.length > 0) isEmpty = false;
    yield {
      files: entries.flatMap((entry) => toListed(container, entry)),
      folders: entries.flatMap(({ subdir }) =>
        typeof subdir === 'string' && subdir.startsWith(prefix) ? [subdir.slice(prefix.length, -1)] : [],
      ),
    };
  }
  if (isEmpty) throw new SregistryError('NOT_FOUND', `${account.show(folder)} does not exist`);
}

/** Without the containers that hold the segments of another container's objects. */
async function* listContainers(account: Account, signal?: AbortSignal): AsyncGenerator<Page> {
  const seen = new Set<string>();
  for await (const entries of listEntries(account, '', {}, signal)) {
    const names = entries.flatMap(({ name }) => (typeof name === 'string' ? [name] : []));
    for (const name of names) seen.add(name);
    const isSegments = (name: string) => /_segments$/.test(name) && seen.has(name.replace(/_segments$/, ''));
    yield { files: [], folders: names.filter((name) => !isSegments(name)) };
  }
}

function toListed(container: string, entry: Entry): ListedFile[] {
  const { name, bytes, hash, last_modified: modified, slo_etag } = entry;
  if (typeof name !== 'string') return [];
  const key = `${container}/${name}`;
  const etag = typeof slo_etag === 'string' ? slo_etag : hash;
  // What is listed as empty may be described by a prefix, by another object, or in Ceph by a manifest, whose size is listed.
  if (typeof etag !== 'string' || !MD5.test(opaque(etag)) || etag === EMPTY || !isSize(bytes))
    return [{ key }];
  // In UTC, without saying so. HEAD gives the time in seconds, rounded up.
  const time = parseDate(typeof modified === 'string' ? modified.replace(/\d$/, '$&Z') : undefined);
  const date = time && new Date(Math.ceil(time.getTime() / 1000) * 1000);
  return [{ key, size: bytes, modified: date, revision: opaque(etag), ref: { key, etag } }];
}

/**
 * A stream of a range of this revision. Ceph compares `If-Match` with another entity tag of an object in segments than the one that
 * it reports: then its time is compared.
 */
export async function openObject(
  account: Account,
  { key, etag, modified }: ObjectRef,
  { size: total, ...range }: Range,
): Promise<Readable> {
  const byTime = () => account.stream(key, { ...range, total, ifUnmodifiedSince: modified });
  if (etag === undefined || (modified !== undefined && account.comparesTimes)) return byTime();
  try {
    return await account.stream(key, { ...range, total, ifMatch: etag });
  } catch (error) {
    if (modified === undefined || !isError(error, 'STALE')) throw error;
    const present = await headObject(account, key, range.signal, true);
    if (present?.ref.etag !== etag || present.ref.modified !== modified) throw error;
    account.comparesTimes = true;
    return byTime();
  }
}
