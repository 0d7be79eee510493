/**
 * A WebDAV server as a store. The revision is a file's entity tag, else its modification time; metadata are in sidecars. A push writes a
 * hidden file and moves it into place when it is whole, because some servers write files in place and ignore `If-None-Match`. All
 * servers must honour `Overwrite: F` on the move (RFC 4918 section 10.6).
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SregistryError } from '../../base/errors.ts';
import type { HttpClient } from '../http.ts';
import { findFile } from '../http-file.ts';
import { type HttpFileRef, httpFiles } from '../kit/http-files.ts';
import type { ListedFile, Page, PutOptions, SourceFile, Store, StoredFile } from '../kit/store.ts';
import { type Member, parseMembers } from './multistatus.ts';

const PROPERTIES =
  '<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>' +
  '<D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>';

/** Milliseconds for removing the hidden file of a failed push. */
const CLEANUP_LIMIT = 5000;

const folderOf = (key: string) => key.slice(0, key.lastIndexOf('/') + 1);

/** `base` ends in `/`. */
export function davStore(http: HttpClient, base: URL): Store {
  const files = httpFiles(http, base);
  const { isIntact, stat, statSame, urlOf } = files;

  /** Creates the collection of a key, and missing ones above it. 405 means that it already exists (RFC 4918 section 9.3.1). */
  async function makeCollection(key: string, signal?: AbortSignal): Promise<void> {
    const folder = folderOf(key);
    if (folder === '') return;
    const make = (allow: readonly number[]) =>
      http.request('MKCOL', urlOf(folder), { allow, idempotent: true, signal });
    if ((await make([405, 409])).status !== 409) return;
    await makeCollection(folder.slice(0, -1), signal);
    await make([405]);
  }

  /** COPY or MOVE. Sends only the path of the target: a server behind a TLS proxy may take the full URL for another host's. */
  async function transfer(
    method: 'COPY' | 'MOVE',
    from: string,
    key: string,
    {
      size,
      overwrite = 'T',
      signal,
    }: { size: number; overwrite?: 'T' | 'F'; signal?: AbortSignal | undefined },
  ) {
    const headers = { destination: urlOf(key).pathname, overwrite };
    await http.request(method, urlOf(from), { headers, idempotent: method === 'COPY', signal });
    const stored = await stat(key, signal);
    if (stored?.size === size) return stored;
    throw new SregistryError('STALE', `${urlOf(key).href} was replaced or removed during the write`);
  }

  async function put(key: string, file: SourceFile, { ifAbsent, signal }: PutOptions): Promise<StoredFile> {
    const present = await findFile(http, urlOf(key), { signal });
    if (present === undefined) await makeCollection(key, signal);
    // nginx builds entity tags from size and seconds: a file replaced within the same second by one of the same size keeps its tag.
    const age = Date.parse(present?.headers.date ?? '') - Number(present?.modified);
    if (present?.size === file.size && age < 1000) await sleep(1000, undefined, { signal });
    const hidden = `${folderOf(key)}.sregistry-${randomUUID()}`;
    try {
      await files.put(hidden, file, signal);
      if (!(await isIntact(hidden, file, signal)))
        throw new SregistryError(
          'CORRUPT',
          `${urlOf(key).href}: the server received other bytes than were sent`,
        );
      const overwrite = ifAbsent ? 'F' : 'T';
      return await transfer('MOVE', hidden, key, { size: file.size, overwrite, signal });
    } catch (error) {
      await http.delete(urlOf(hidden), { allow: [404], timeout: CLEANUP_LIMIT }).catch(() => {});
      throw error;
    }
  }

  const propfind = (folder: string, depth: '0' | '1', signal?: AbortSignal) => {
    const headers = { depth, 'content-type': 'application/xml' };
    return http.request('PROPFIND', urlOf(folder), { headers, body: PROPERTIES, idempotent: true, signal });
  };

  async function* list(folder: string, signal?: AbortSignal): AsyncGenerator<Page> {
    const members = parseMembers((await propfind(folder, '1', signal)).text(), urlOf(folder));
    const { folders = [], files = [] } = Object.groupBy(members, (one) =>
      one.isCollection ? 'folders' : 'files',
    );
    yield { folders: folders.map(({ name }) => name), files: files.map((file) => toListed(folder, file)) };
  }

  return {
    ...files,
    hasFolders: true,
    list,
    put,
    copy: async (from, key, { size, signal }) => {
      if ((await statSame(from, signal)) === undefined)
        throw new SregistryError('STALE', `${urlOf(from.key).href} is gone`);
      await makeCollection(key, signal);
      return transfer('COPY', from.key, key, { size, signal });
    },
    check: async (signal) => {
      await propfind('', '0', signal);
    },
  };
}

/** A file in a listing. If it has no entity tag, a later HEAD tells its revision. */
function toListed(folder: string, { name, size, modified, etag }: Member): ListedFile {
  const key = folder + name;
  if (etag === undefined || size === undefined) return { key };
  const ref: HttpFileRef = { key, etag, ...(modified && { modified }) };
  return { key, size, modified: new Date(modified ?? Number.NaN), revision: `${etag} ${size}`, ref };
}
