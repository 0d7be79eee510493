/**
 * The API of Google Drive (version 3, developers.google.com/workspace/drive/api), with shared drives included in every request. Its
 * failures come as failure.ts reads them.
 */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import {
  type BufferedResponse,
  createHttpClient,
  type HttpClient,
  isLoopback,
  type RequestOptions,
  type StreamOptions,
} from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import { encodeQuery } from '../kit/signed-address.ts';
import type { DriveContext } from './context.ts';
import { explain } from './failure.ts';
import { type DriveFile, FIELDS, isId, toDriveFile } from './files.ts';
import { driveCredentials } from './login.ts';

const GOOGLE = 'https://www.googleapis.com';
/** Files on a page: the most that the service gives. */
const PAGE_SIZE = 1000;

export class Drive {
  readonly http: HttpClient;
  readonly base: URL;
  /** Id of the shared drive; undefined for My Drive. */
  readonly sharedDrive: string | undefined;

  constructor(context: DriveContext) {
    const { name, options, env } = context;
    this.base = parseBase(name, options.base ?? GOOGLE);
    for (const option of ['folder', 'sharedDrive'] as const)
      if (options[option] !== undefined && !isId(options[option]))
        throw new SregistryError('SETTINGS', `${name}: ${option} is not an id: ${options[option]}`, {
          hint: 'the id is the last part of the address of the folder in a browser',
        });
    this.sharedDrive = options.sharedDrive;
    this.http = createHttpClient({
      base: this.base,
      env,
      ...driveCredentials(context),
      interpret: explain,
      hints: { UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`` },
    });
  }

  /** A request about files; `path` below `/drive/v3/files`, or from `/upload`. */
  request(method: string, path: string, options: RequestOptions = {}): Promise<BufferedResponse> {
    const query = { supportsAllDrives: 'true', ...options.query };
    return this.http.request(method, addressOf(path), { ...options, query });
  }

  /** Sends a request that answers with a file. */
  async ask(method: string, path: string, options: RequestOptions = {}): Promise<DriveFile> {
    const query = { fields: FIELDS, ...options.query };
    return toDriveFile((await this.request(method, path, { ...options, query })).json());
  }

  /** The file with this id; undefined if Drive has no such file, or has it in the trash. */
  async get(id: string, signal?: AbortSignal): Promise<DriveFile | undefined> {
    const file = await unlessAbsent(this.ask('GET', `/${id}`, { signal }));
    return file?.isTrashed ? undefined : file;
  }

  /** All files that match a query ("Search for files and folders"). NOT_FOUND if it names a folder that is gone. */
  async find(q: string, signal?: AbortSignal): Promise<DriveFile[]> {
    const query = {
      q,
      fields: `nextPageToken,files(${FIELDS})`,
      pageSize: PAGE_SIZE,
      spaces: 'drive',
      includeItemsFromAllDrives: 'true',
      ...(this.sharedDrive !== undefined && { corpora: 'drive', driveId: this.sharedDrive }),
    };
    const pages = followPages<DriveFile[], string>('Google Drive', async (pageToken) => {
      const reply = await this.request('GET', '', { query: { ...query, pageToken }, signal });
      const { files, nextPageToken } = (reply.json() ?? {}) as Record<string, unknown>;
      if (!Array.isArray(files)) throw new SregistryError('SERVICE', 'Google Drive sent a malformed listing');
      const isLast = typeof nextPageToken !== 'string' || nextPageToken === '';
      return { page: files.map(toDriveFile), next: isLast ? undefined : nextPageToken };
    });
    return (await Array.fromAsync(pages)).flat();
  }

  stream(path: string, query: Record<string, string | undefined>, options: StreamOptions): Promise<Readable> {
    const all = { supportsAllDrives: 'true', alt: 'media', ...query };
    return this.http.stream(`${addressOf(path)}?${encodeQuery(all)}`, options);
  }
}

const addressOf = (path: string) => (path.startsWith('/upload/') ? path : `/drive/v3/files${path}`);

/** Tokens do not travel in the clear. */
function parseBase(instance: string, text: string): URL {
  const { protocol, host, origin } = new URL(text);
  if (protocol !== 'https:' && !isLoopback(host))
    throw new SregistryError('SETTINGS', `${instance}: refusing to send a login to ${origin} in the clear`, {
      hint: 'give base as an https address',
    });
  return new URL(origin);
}
