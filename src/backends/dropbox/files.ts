/** Files and folders as Dropbox tells them (`Metadata` of the API). */
import { parseDate } from '../../base/date.ts';
import { SregistryError } from '../../base/errors.ts';
import { isJsonObject, isSize } from '../../settings/json.ts';
import type { FileRef, StoredFile } from '../kit/store.ts';

export interface DropboxRef extends FileRef {
  /** Names one revision of the file. */
  readonly rev?: string;
}

export interface Entry {
  readonly kind: 'file' | 'folder' | 'deleted';
  /** In the case that it was created with. */
  readonly name: string;
  /** The whole path in lower case. */
  readonly path: string;
  readonly file: DropboxFile | undefined;
}

export interface DropboxFile {
  /** The same for all revisions, and after a move. */
  readonly id: string;
  readonly rev: string;
  /** Bytes. */
  readonly size: number;
  readonly modified: Date | undefined;
  /** The hash of base/block-hash.ts; undefined for a document of Dropbox's own. */
  readonly hash: string | undefined;
  readonly canDownload: boolean;
}

const malformed = (what: string) =>
  new SregistryError('SERVICE', `Dropbox sent a malformed ${what}`, {
    hint: 'check that base is the address of the API',
  });

/** @throws {SregistryError} SERVICE if the value is no entry. */
export function toEntry(value: unknown): Entry {
  const given = isJsonObject(value) ? value : {};
  const { '.tag': kind, name, path_lower: path = '' } = given;
  if (typeof name !== 'string' || typeof path !== 'string') throw malformed('entry');
  if (kind === 'folder' || kind === 'deleted') return { kind, name, path, file: undefined };
  if (kind !== 'file') throw malformed('entry');
  return { kind, name, path, file: toFile(given) };
}

/** @throws {SregistryError} SERVICE if the value is no file. */
export function toFile(value: unknown): DropboxFile {
  const given = isJsonObject(value) ? value : {};
  const { id, rev, size, server_modified: modified, content_hash: hash, is_downloadable: can } = given;
  if (typeof id !== 'string' || !isRev(rev) || !isSize(size)) throw malformed('file');
  return {
    id,
    rev,
    size,
    modified: typeof modified === 'string' ? parseDate(modified) : undefined,
    hash: typeof hash === 'string' && /^[0-9a-f]{64}$/.test(hash) ? hash : undefined,
    canDownload: can !== false,
  };
}

/** Revisions become parts of requests. */
export function isRev(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{9,64}$/.test(value);
}

/**
 * The file as the store's. Its revision is the hash of its bytes: the one that Dropbox computes, as it knows no sha256. So two files
 * with the same bytes have the same revision, and a sidecar belongs to bytes.
 */
export function toStored(key: string, { rev, size, modified, hash, canDownload }: DropboxFile): StoredFile {
  const ref: DropboxRef = { key, rev };
  return {
    key,
    size,
    modified,
    revision: hash ?? rev,
    ref,
    ...(!canDownload && { unpresentable: 'it is a document of Dropbox, which has no bytes to read' }),
  };
}

/** A page of a listing. */
export function toListing(value: unknown): { entries: Entry[]; cursor: string | undefined } {
  const { entries, cursor, has_more: hasMore } = isJsonObject(value) ? value : {};
  if (!Array.isArray(entries) || typeof cursor !== 'string') throw malformed('listing');
  return { entries: entries.map(toEntry), cursor: hasMore === true ? cursor : undefined };
}
