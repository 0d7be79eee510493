/** Files of Drive as its API tells them (version 3, resource "files"), and the queries that find them. */
import { parseDate } from '../../base/date.ts';
import { SregistryError } from '../../base/errors.ts';
import { toStrings } from '../../image/attributes.ts';
import type { FileRef, StoredFile, Strings } from '../kit/store.ts';

export const FOLDER = 'application/vnd.google-apps.folder';
/** Folders, shortcuts, and documents, which have no bytes. */
const WITHOUT_BYTES = 'application/vnd.google-apps.';

/** What the API is asked to tell of a file; unasked, it tells only the name. */
export const FIELDS =
  'id,name,mimeType,size,md5Checksum,sha256Checksum,headRevisionId,modifiedTime,createdTime,trashed,properties,' +
  'capabilities(canReadRevisions),webViewLink,webContentLink,ownedByMe,driveId';

export interface DriveFile {
  readonly id: string;
  readonly name: string;
  readonly isFolder: boolean;
  /** When it was made, in milliseconds since 1970; 0 if unknown. */
  readonly created: number;
  readonly isTrashed: boolean;
  readonly isOwn: boolean;
  /** Id of the shared drive that it is in. */
  readonly sharedDrive: string | undefined;
  /** Absent for folders, shortcuts and documents. */
  readonly content: Content | undefined;
  readonly properties: Strings;
  /** Page that shows the file, and address of its bytes, for a browser. */
  readonly webViewLink: string | undefined;
  readonly webContentLink: string | undefined;
}

interface Content {
  /** Bytes. */
  readonly size: number;
  readonly modified: Date | undefined;
  readonly revision: string;
  /** In hexadecimal. */
  readonly md5: string | undefined;
  readonly sha256: string | undefined;
  /** May this user read one revision of the file? Somebody who may only read the file may not. */
  readonly hasRevisions: boolean;
}

export interface DriveRef extends FileRef {
  readonly id?: string;
  readonly revision?: string;
  readonly hasRevisions?: boolean;
}

/** @throws {SregistryError} SERVICE if the value is not a file of Drive. */
export function toDriveFile(value: unknown): DriveFile {
  const given = (value ?? {}) as Record<string, unknown>;
  const { id, name, mimeType } = given;
  if (!isId(id) || typeof name !== 'string' || typeof mimeType !== 'string')
    throw new SregistryError('SERVICE', 'Google Drive sent a malformed file', {
      hint: 'check that base is the address of the Drive API',
    });
  const text = (field: string) => (typeof given[field] === 'string' ? String(given[field]) : undefined);
  return {
    id,
    name,
    isFolder: mimeType === FOLDER,
    created: parseDate(text('createdTime'))?.getTime() ?? 0,
    isTrashed: given.trashed === true,
    isOwn: given.ownedByMe === true,
    sharedDrive: text('driveId'),
    content: mimeType.startsWith(WITHOUT_BYTES) ? undefined : toContent(given, text),
    properties: toStrings(given.properties),
    webViewLink: text('webViewLink'),
    webContentLink: text('webContentLink'),
  };
}

/** Undefined for a file that is still being uploaded. */
function toContent(
  given: Record<string, unknown>,
  text: (field: string) => string | undefined,
): Content | undefined {
  const [size = '', revision] = [text('size'), text('headRevisionId')];
  if (!/^\d{1,15}$/.test(size) || !isId(revision)) return undefined;
  const hash = (field: string, digits: number) => {
    const value = text(field)?.toLowerCase();
    return value?.length === digits && /^[0-9a-f]+$/.test(value) ? value : undefined;
  };
  const { canReadRevisions } = (given.capabilities ?? {}) as Record<string, unknown>;
  return {
    size: Number(size),
    modified: parseDate(text('modifiedTime')),
    revision,
    md5: hash('md5Checksum', 32),
    sha256: hash('sha256Checksum', 64),
    hasRevisions: canReadRevisions === true,
  };
}

/** Ids become parts of paths and queries. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[\w-]{1,128}$/.test(value);
}

/** The file as the store's. Undefined without content. */
export function toStored(
  key: string,
  { id, content, properties: metadata }: DriveFile,
): StoredFile | undefined {
  if (content === undefined) return undefined;
  const { size, modified, revision, md5, sha256, hasRevisions } = content;
  const ref: DriveRef = { key, id, revision, hasRevisions };
  return { key, size, modified, revision, md5, metadata, ref, digest: sha256 && `sha256:${sha256}` };
}

/** Names are not unique: the file of a name is the one that was modified last. */
export function newestOf(files: readonly DriveFile[]): DriveFile | undefined {
  const age = ({ content, id }: DriveFile) => [content?.modified?.getTime() ?? 0, id] as const;
  return files.reduce<DriveFile | undefined>((best, file) => {
    if (file.content === undefined || best === undefined) return file.content === undefined ? best : file;
    const [[time, id], [bestTime, bestId]] = [age(file), age(best)];
    return time > bestTime || (time === bestTime && id > bestId) ? file : best;
  }, undefined);
}

/** A text in a query ("Search query terms and operators"). */
export const quoted = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`;

export const isIn = (folder: string) => `${quoted(folder)} in parents and trashed = false`;

/** Drive compares names without regard to case; compare the results again. */
export const isNamed = (names: readonly string[]) =>
  `(${names.map((name) => `name = ${quoted(name)}`).join(' or ')})`;

/** How the Python client marks its images. */
export const IS_CONTAINER = "properties has { key='type' and value='container' }";
