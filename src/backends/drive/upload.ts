/** Stores files in Drive: POST opens the session for a new file, PATCH for one that is replaced, which keeps its id. */
import { createHash } from 'node:crypto';
import { SregistryError } from '../../base/errors.ts';
import { googleUpload } from '../kit/google-upload.ts';
import { uploadInOrder } from '../kit/ordered-upload.ts';
import type { PutOptions, SourceFile } from '../kit/store.ts';
import type { Drive } from './drive.ts';
import { type DriveFile, FIELDS, toDriveFile } from './files.ts';

/** A file to be stored. */
export interface Upload {
  /** Names the file in messages. */
  readonly what: string;
  /** The file to replace; undefined for a new one. */
  readonly id?: string | undefined;
  /** Its metadata, in the API's own terms. */
  readonly resource: Readonly<Record<string, unknown>>;
}

export function uploadFile(
  drive: Drive,
  upload: Upload,
  file: SourceFile,
  { progress, signal, resume }: Pick<PutOptions, 'progress' | 'signal' | 'resume'>,
): Promise<DriveFile> {
  const { what, id, resource } = upload;
  const session = googleUpload({
    what,
    file,
    // A session keeps the target and the metadata that it was opened with.
    identity: {
      api: drive.base.href,
      id,
      resource: createHash('sha256').update(JSON.stringify(resource)).digest('hex'),
      digest: file.digest,
    },
    parse: (saved) => parseSession(drive, saved),
    open: () => openSession(drive, upload, file.size, signal),
    put: (address, options) => drive.http.put(address, { ...options, signal }),
    toResult: toDriveFile,
  });
  return uploadInOrder(session, { progress, signal, resume });
}

/** Stores a small file. */
export async function uploadBytes(
  drive: Drive,
  upload: Upload,
  bytes: Buffer,
  signal?: AbortSignal,
): Promise<DriveFile> {
  const address = await openSession(drive, upload, bytes.length, signal);
  return toDriveFile((await drive.http.put(address, { body: bytes, signal })).json());
}

/** Opens a session and returns its address. */
async function openSession(
  drive: Drive,
  { what, id, resource }: Upload,
  size: number,
  signal?: AbortSignal,
): Promise<string> {
  const [method, path] = id === undefined ? ['POST', ''] : ['PATCH', `/${id}`];
  const reply = await drive.request(method, `/upload/drive/v3/files${path}`, {
    query: { uploadType: 'resumable', fields: FIELDS },
    headers: { 'x-upload-content-length': String(size) },
    json: resource,
    // A session that nobody feeds leaves nothing behind.
    idempotent: true,
    signal,
  });
  const address = parseSession(drive, reply.headers.location);
  if (address !== undefined) return address;
  throw new SregistryError('SERVICE', `${what}: Google Drive opened an upload without a usable address`);
}

/** The address of a session; undefined unless it is at the service itself, as the bytes of the image go there. */
function parseSession({ base }: Drive, address: unknown): string | undefined {
  const url = typeof address === 'string' ? URL.parse(address, base.href) : null;
  return url?.origin === base.origin ? url.href : undefined;
}
