/**
 * A WebDAV server as a store. A file's entity tag is its revision, else its time of modification. Servers carry no metadata of ours,
 * so those are in sidecars, and not all servers heed conditions: what must not be replaced is looked at right before, too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isError, SregistryError } from '../../base/errors.ts';
import { fileBody } from '../file-body.ts';
import type { Http } from '../http.ts';
import { findFile } from '../http-file.ts';
import type { FileRef, ListedFile, Page, PutOptions, SourceFile, Store, StoredFile } from '../kit/store.ts';
import { type Member, parseMembers } from './multistatus.ts';

interface DavRef extends FileRef {
  readonly etag?: string;
  readonly modified?: string;
}

const PROPERTIES =
  '<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>' +
  '<D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>';

/** `base` ends in `/`. */
export function davStore(http: Http, base: URL): Store {
  const urlOf = (key: string) => new URL(key.split('/').map(encodeURIComponent).join('/'), base);

  async function stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined> {
    const file = await findFile(http, urlOf(key), { signal });
    if (file === undefined) return undefined;
    const { url: _, ...validators } = file.location;
    const { size, modified, revision } = file;
    return { key, size, modified, revision, ref: { ...validators, key } };
  }

  /** The file of a reference, or undefined where it is gone; STALE where another one is there. */
  async function expectSame({ key, etag, modified }: DavRef, signal?: AbortSignal) {
    const present = await stat(key, signal);
    const ref: DavRef | undefined = present?.ref;
    if (ref !== undefined && (etag !== undefined ? ref.etag !== etag : modified && ref.modified !== modified))
      throw new SregistryError('STALE', `${urlOf(key).href} has been replaced since it was looked up`);
    return present;
  }

  /** What is at a key that was just written. */
  async function written(key: string, signal?: AbortSignal): Promise<StoredFile> {
    const stored = await stat(key, signal);
    if (stored !== undefined) return stored;
    throw new SregistryError('STALE', `${urlOf(key).href} was removed while it was written`);
  }

  /** Makes the collection that a key is in, and those above it that are missing; 405 says that it is there (RFC 4918 section 9.3.1). */
  async function makeCollection(key: string, signal?: AbortSignal): Promise<void> {
    const folder = key.slice(0, key.lastIndexOf('/') + 1);
    if (folder === '') return;
    const make = (allow: readonly number[]) =>
      http.request('MKCOL', urlOf(folder), { allow, idempotent: true, signal });
    if ((await make([405, 409])).status !== 409) return;
    await makeCollection(folder.slice(0, -1), signal);
    await make([405]);
  }

  async function put(
    key: string,
    file: SourceFile,
    { ifAbsent, progress, signal }: PutOptions,
  ): Promise<StoredFile> {
    const present = await findFile(http, urlOf(key), { signal });
    if (present === undefined) await makeCollection(key, signal);
    const exists = (cause?: unknown) =>
      new SregistryError('EXISTS', `${urlOf(key).href} is there already`, { cause });
    if (ifAbsent && present) throw exists();
    // nginx makes entity tags of size and seconds: a file of this very second and of that size would keep its tag.
    const age = Date.parse(present?.headers.date ?? '') - Number(present?.modified);
    if (present?.size === file.size && age < 1000) await sleep(1000, undefined, { signal });
    try {
      await http.put(urlOf(key), {
        body: fileBody(file, progress),
        headers: { 'content-length': String(file.size), ...(ifAbsent && { 'if-none-match': '*' }) },
        timeout: Number.POSITIVE_INFINITY,
        signal,
      });
    } catch (error) {
      throw ifAbsent && isError(error) && error.status === 412 ? exists(error) : error;
    }
    return written(key, signal);
  }

  async function* list(folder: string, signal?: AbortSignal): AsyncGenerator<Page> {
    const url = urlOf(folder);
    const headers = { depth: '1', 'content-type': 'application/xml' };
    const reply = await http.request('PROPFIND', url, { headers, body: PROPERTIES, idempotent: true, signal });
    const members = parseMembers(reply.text(), url);
    yield {
      files: members.filter(({ isCollection }) => !isCollection).map((member) => toListed(folder, member)),
      folders: members.filter(({ isCollection }) => isCollection).map(({ name }) => name),
    };
  }

  return {
    target: base.href,
    hasFolders: true,
    show: (key) => urlOf(key).href,
    stat,
    list,
    open: ({ key, etag, modified }: DavRef, { size: total, ...range }) =>
      http.stream(urlOf(key), { ...range, total, ifMatch: etag, ifUnmodifiedSince: modified }),
    put,
    getSmall: async (key, signal) => (await http.get(urlOf(key), { signal })).bytes,
    putSmall: async (key, body, signal) => {
      await http.put(urlOf(key), { body, headers: { 'content-type': 'application/json' }, signal });
    },
    remove: async (ref, signal) => {
      if ((await expectSame(ref, signal)) !== undefined)
        await http.delete(urlOf(ref.key), { allow: [404], signal });
    },
    copy: async (from, key, { signal }) => {
      if ((await expectSame(from, signal)) === undefined)
        throw new SregistryError('STALE', `${urlOf(from.key).href} is gone`);
      await makeCollection(key, signal);
      const headers = { destination: urlOf(key).href, overwrite: 'T' };
      await http.request('COPY', urlOf(from.key), { headers, idempotent: true, signal });
      return written(key, signal);
    },
    isRef: ({ etag, modified }) => [etag, modified].every((one) => ['string', 'undefined'].includes(typeof one)),
    check: async (signal) => {
      const headers = { depth: '0', 'content-type': 'application/xml' };
      await http.request('PROPFIND', base, { headers, body: PROPERTIES, idempotent: true, signal });
    },
    close: () => http.close(),
  };
}

/** A file as a listing tells it: without an entity tag, HEAD says which revision it is. */
function toListed(folder: string, { name, size, modified, etag }: Member): ListedFile {
  const key = folder + name;
  if (etag === undefined || size === undefined) return { key };
  const ref: DavRef = { key, etag, ...(modified && { modified }) };
  return { key, size, modified: new Date(modified ?? Number.NaN), revision: `${etag} ${size}`, ref };
}
