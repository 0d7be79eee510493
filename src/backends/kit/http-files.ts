/**
 * Store methods for files below a URL that need only plain HTTP. HEAD tells a file's revision: its entity tag, else its modification
 * time. On a read, both server and client check the revision. A removal checks it immediately before, as not every server honours
 * conditions.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SregistryError } from '../../base/errors.ts';
import type { Headers, HttpClient } from '../http.ts';
import { findFile } from '../http-file.ts';
import type { FileRef, HashedFile, Range, SourceFile, StoredFile } from './store.ts';

export interface HttpFileRef extends FileRef {
  readonly etag?: string;
  /** `Last-Modified` as the server wrote it. */
  readonly modified?: string;
}

/** The methods of a {@link Store} that need only HTTP, and helpers for writing the others. */
export interface HttpFiles {
  readonly target: string;
  /** The URL of a key, or of a folder that ends in `/`. */
  urlOf(key: string): URL;
  show(key: string): string;
  stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined>;
  open(ref: HttpFileRef, range: Range): Promise<Readable>;
  getSmall(key: string, signal?: AbortSignal): Promise<Buffer>;
  putSmall(key: string, bytes: Buffer, signal?: AbortSignal): Promise<void>;
  remove(ref: HttpFileRef, signal?: AbortSignal): Promise<void>;
  /** The file if it still has this revision; undefined if it is gone. Throws STALE if it was replaced. */
  statSame(ref: HttpFileRef, signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** Puts a whole file. Only a stall ends it. */
  put(key: string, file: SourceFile, signal?: AbortSignal): Promise<void>;
  /** Has the server the whole file? TLS detects damage in transit; over plain http, this reads the bytes back. */
  isIntact(key: string, file: HashedFile, signal?: AbortSignal): Promise<boolean>;
  isRef(handle: Readonly<Record<string, unknown>>): boolean;
  close(): Promise<void>;
}

/** `base` ends in `/`. */
export function httpFiles(http: HttpClient, base: URL): HttpFiles {
  const urlOf = (key: string) => new URL(key.split('/').map(encodeURIComponent).join('/'), base);

  async function stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined> {
    const file = await findFile(http, urlOf(key), { signal });
    if (file === undefined) return undefined;
    const { size, modified, revision, location } = file;
    const { url: _, ...validators } = location;
    return { key, size, modified, revision, ref: { ...validators, key } };
  }

  async function statSame({ key, etag, modified }: HttpFileRef, signal?: AbortSignal) {
    const present = await stat(key, signal);
    const ref: HttpFileRef | undefined = present?.ref;
    const isOther = etag === undefined ? modified && ref?.modified !== modified : ref?.etag !== etag;
    if (present === undefined || !isOther) return present;
    throw new SregistryError('STALE', `${urlOf(key).href} has been replaced since it was looked up`);
  }

  return {
    target: base.href,
    urlOf,
    show: (key) => urlOf(key).href,
    stat,
    statSame,
    open: ({ key, etag, modified }, { size: total, ...range }) =>
      http.stream(urlOf(key), { ...range, total, ifMatch: etag, ifUnmodifiedSince: modified }),
    getSmall: async (key, signal) => (await http.get(urlOf(key), { signal })).bytes,
    putSmall: async (key, body, signal) => {
      await http.put(urlOf(key), { body, headers: { 'content-type': 'application/json' }, signal });
    },
    remove: async (ref, signal) => {
      if ((await statSame(ref, signal)) !== undefined)
        await http.delete(urlOf(ref.key), { allow: [404], signal });
    },
    put: async (key, { open, size }, signal) => {
      const headers = { 'content-length': String(size) };
      await http.put(urlOf(key), { body: open, headers, timeout: Number.POSITIVE_INFINITY, signal });
    },
    isIntact: async (key, { size, digest }, signal) => {
      if ((await stat(key, signal))?.size !== size) return false;
      if (base.protocol === 'https:') return true;
      const hash = createHash('sha256');
      await pipeline(await http.stream(urlOf(key), { total: size, signal }), hash);
      return `sha256:${hash.digest('hex')}` === digest;
    },
    isRef: ({ etag, modified }) =>
      [etag, modified].every((one) => one === undefined || typeof one === 'string'),
    close: () => http.close(),
  };
}

/** The URL of a folder, with a slash at its end. */
export function folderAddress(address: string): URL {
  const { origin, pathname } = new URL(address);
  return new URL(pathname.replace(/\/?$/, '/'), origin);
}

export interface Login {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Used instead of user and password. */
  readonly token?: string | undefined;
}

/** The header for a token (RFC 6750) or for user and password (RFC 7617); no header without a login. */
export function authorization({ username, password, token }: Login): Headers {
  if (token) return { authorization: `Bearer ${token}` };
  if (!username || !password) return {};
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
}
