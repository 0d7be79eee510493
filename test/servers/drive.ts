/**
 * Google Drive in memory: the part of its API (version 3) that clients use for files, after its public reference (the folder drive
 * beside this file). It has My Drive, shared drives, links to files, and the token service of a workload identity. It is strict: it
 * answers with the fields that a client asks for and no others, and refuses parameters, queries and metadata that Drive refuses.
 *
 * Checked against rclone (../backends/drive.rclone.test.ts) and Google's client library for Python.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { pick } from './drive/fields.ts';
import { describeFile, type FakeFile, FakeFiles, FOLDER } from './drive/files.ts';
import { parseQuery } from './drive/query.ts';
import { type FakeSession, FakeUploads } from './drive/uploads.ts';
import { invalid, notFound, parseResource, Refusal, send } from './gcs/refusal.ts';
import { startGoogleServer } from './gcs/server.ts';
import { type FaultServer, sendRange } from './http-faults.ts';

export interface FakeDriveOptions {
  /** Accepts an access token. Default: any that `POST /v1/token` issued. */
  readonly accepts?: (token: string) => boolean;
  /** Most files on a page. Default 1000. */
  readonly pageSize?: number;
  /** May the user read revisions? Somebody who may only read files may not. Default true. */
  readonly canReadRevisions?: boolean;
  /** Are revisions dropped that are not the head? */
  readonly dropsRevisions?: boolean;
  /** Does Drive not compute the sha256? */
  readonly lacksSha256?: boolean;
  /** Sees every request first; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
}

export interface FakeDrive extends FaultServer {
  readonly files: FakeFiles;
  /** Open sessions, by id. */
  readonly sessions: Map<string, FakeSession>;
  /** Creates a shared drive, and returns its id. */
  addSharedDrive(name: string): string;
  /** The file at a path below My Drive, or below a folder's id, without what is in the trash. */
  at(path: string, root?: string): FakeFile[];
}

/** Parameters of all methods ("Standard query parameters"), then those of each method. */
const COMMON = ['alt', 'fields', 'prettyPrint', 'key', 'quotaUser', 'userIp'];
const SHARED = 'supportsAllDrives';
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  list: [
    ...['q', 'pageSize', 'pageToken', 'spaces', 'corpora', 'driveId', 'orderBy', SHARED],
    'includeItemsFromAllDrives',
  ],
  get: [SHARED, 'acknowledgeAbuse'],
  create: [SHARED, 'uploadType', 'upload_id', 'keepRevisionForever', 'ignoreDefaultVisibility'],
  update: [
    ...[SHARED, 'uploadType', 'upload_id', 'addParents', 'removeParents', 'keepRevisionForever'],
    'setModifiedDate',
  ],
  copy: [SHARED, 'keepRevisionForever'],
  delete: [SHARED],
  revision: ['acknowledgeAbuse', SHARED],
  permissions: [SHARED, 'sendNotificationEmail', 'emailMessage'],
  other: [],
};
const DEFAULT_FIELDS = 'kind,id,name,mimeType';

export async function startFakeDrive(options: FakeDriveOptions = {}): Promise<FakeDrive> {
  const files = new FakeFiles();
  const issued = new Set<string>();
  const accepts = options.accepts ?? ((token: string) => issued.has(token));

  const describe = (file: FakeFile, origin: string) => ({
    ...describeFile(file, files, origin, options.canReadRevisions !== false),
    ...(options.lacksSha256 && { sha256Checksum: undefined }),
  });
  const answerFile = (response: ServerResponse, file: FakeFile, url: URL) =>
    send(response, pick(describe(file, url.origin), url.searchParams.get('fields') || DEFAULT_FIELDS));
  const sees = (url: URL) => url.searchParams.get(SHARED) === 'true';

  const replace = (file: FakeFile) => {
    if (options.dropsRevisions) file.revisions = file.revisions.slice(-1);
    return file;
  };
  const uploads = new FakeUploads(({ id, resource }, bytes, url) => {
    const file =
      id === undefined
        ? files.create(resource, bytes)
        : replace(files.update(files.find(id, sees(url)), resource, bytes));
    return pick(describe(file, url.origin), url.searchParams.get('fields') || DEFAULT_FIELDS);
  });

  const list = (url: URL) => {
    const { searchParams: query } = url;
    const [corpora, driveId] = [query.get('corpora') ?? 'user', query.get('driveId')];
    const all = query.get('includeItemsFromAllDrives') === 'true';
    if (all && !sees(url)) throw invalid('supportsAllDrives must be true if includeItemsFromAllDrives is');
    if ((corpora === 'drive') !== (driveId !== null) || (driveId !== null && !all))
      throw invalid('The driveId parameter must be specified if and only if corpora is set to drive.');
    if (driveId !== null) files.find(driveId, true);
    const size = Number(query.get('pageSize') ?? 100);
    if (!Number.isInteger(size) || size < 1 || size > 1000) throw invalid('Invalid pageSize');
    const q = query.get('q') ?? '';
    const matches = parseQuery(q, {
      parent: (id) => files.find(id, all).id,
      isTrashed: (file) => files.isTrashed(file),
    });
    const found = [...files.all.values()]
      .reverse()
      .filter((file) => file !== files.root && file.id !== file.driveId)
      .filter((file) => (driveId === null ? all || file.driveId === undefined : file.driveId === driveId))
      .filter(matches);
    const [startText = '0', of = q] = fromToken(query.get('pageToken'));
    const start = Number(startText);
    if (of !== q || !Number.isInteger(start)) throw invalid('Invalid page token');
    const end = start + Math.min(size, options.pageSize ?? 1000);
    const answer = {
      kind: 'drive#fileList',
      incompleteSearch: false,
      nextPageToken: end < found.length ? toToken(String(end), q) : undefined,
      files: found.slice(start, end).map((file) => describe(file, url.origin)),
    };
    return pick(
      answer,
      query.get('fields') || `kind,incompleteSearch,nextPageToken,files(${DEFAULT_FIELDS})`,
    );
  };

  const sendMedia = (request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined) => {
    if (bytes === undefined)
      throw new Refusal(403, 'fileNotDownloadable', 'Only files with binary content can be downloaded.');
    response.setHeader('content-type', 'application/octet-stream');
    sendRange(request, response, bytes);
  };

  const handleFile = async (request: IncomingMessage, response: ServerResponse, url: URL, id: string) => {
    const file = files.find(id, sees(url));
    const { method } = request;
    if (method === 'DELETE') {
      allow(url, 'delete');
      files.all.delete(file.id);
      response.writeHead(204).end();
      return;
    }
    allow(url, method === 'PATCH' ? 'update' : 'get');
    if (method === 'PATCH') {
      const resource = parseResource(await buffer(request));
      files.check(resource, sees(url), file);
      files.update(file, resource);
      const [add, remove] = [url.searchParams.get('addParents'), url.searchParams.get('removeParents')];
      if (remove !== null) file.parents = file.parents.filter((parent) => parent !== remove);
      if (add !== null) file.parents = [files.find(add, sees(url)).id];
    } else if (method !== 'GET') throw notFound('Not Found');
    if (method === 'GET' && url.searchParams.get('alt') === 'media')
      return sendMedia(request, response, file.revisions.at(-1)?.bytes);
    answerFile(response, file, url);
  };

  const copy = async (request: IncomingMessage, response: ServerResponse, url: URL, id: string) => {
    allow(url, 'copy');
    const file = files.find(id, sees(url));
    const head = file.revisions.at(-1);
    if (head === undefined)
      throw new Refusal(403, 'cannotCopyFile', 'This file cannot be copied by the user.');
    const { properties, ...resource } = parseResource(await buffer(request));
    files.check({ ...resource, properties }, sees(url));
    const { name, mimeType } = file;
    const made = files.create({ name, mimeType, parents: file.parents, ...resource }, head.bytes);
    // The properties of the original come along.
    files.update(made, { properties: { ...file.properties, ...((properties ?? {}) as object) } });
    answerFile(response, made, url);
  };

  const readRevision = (
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    path: [string, string],
  ) => {
    allow(url, 'revision');
    const file = files.find(path[0], true);
    if (options.canReadRevisions === false)
      throw new Refusal(403, 'insufficientFilePermissions', 'The user does not have sufficient permissions.');
    const revision = file.revisions.find((one) => one.id === path[1]);
    if (revision === undefined) throw notFound(`Revision not found: ${path[1]}.`);
    if (url.searchParams.get('alt') === 'media') return sendMedia(request, response, revision.bytes);
    const { id: revisionId, modified } = revision;
    send(response, { kind: 'drive#revision', id: revisionId, modifiedTime: modified.toISOString() });
  };

  const share = async (request: IncomingMessage, response: ServerResponse, url: URL, id: string) => {
    allow(url, 'permissions');
    const file = files.find(id, sees(url));
    if (request.method === 'GET') {
      const permissions = file.permissions.map((one) => ({ kind: 'drive#permission', ...one }));
      const fields = url.searchParams.get('fields') || 'kind,permissions(kind,id,type,role)';
      return send(response, pick({ kind: 'drive#permissionList', permissions }, fields));
    }
    const given = parseResource(await buffer(request));
    const { type, role, emailAddress, expirationTime } = given;
    const isPerson = type === 'user' || type === 'group';
    const isValid =
      ['reader', 'commenter', 'writer'].includes(String(role)) &&
      (isPerson || type === 'anyone') &&
      isPerson === (typeof emailAddress === 'string' && emailAddress.includes('@'));
    if (request.method !== 'POST' || !isValid) throw invalid('The permission is not valid.');
    if (expirationTime !== undefined && (!isPerson || !(Date.parse(String(expirationTime)) > Date.now())))
      throw new Refusal(403, 'cannotSetExpiration', 'Expiration dates cannot be set on this item.');
    const permission = { kind: 'drive#permission', id: randomUUID(), type, role };
    file.permissions.push({ ...given, id: permission.id });
    send(response, pick(permission, url.searchParams.get('fields') || 'kind,id,type,role'));
  };

  const handleFiles = async (
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    path: string[],
  ) => {
    const [id, what, more] = path;
    if (id === undefined && request.method === 'GET') {
      allow(url, 'list');
      return send(response, list(url));
    }
    if (id === undefined && request.method === 'POST') {
      allow(url, 'create');
      const resource = parseResource(await buffer(request));
      files.check(resource, sees(url));
      return answerFile(
        response,
        files.create(resource, resource.mimeType === FOLDER ? undefined : Buffer.alloc(0)),
        url,
      );
    }
    if (id === undefined || path.length > 3) throw notFound('Not Found');
    if (what === undefined) return handleFile(request, response, url, id);
    if (what === 'copy' && request.method === 'POST') return copy(request, response, url, id);
    if (what === 'permissions') return share(request, response, url, id);
    if (what === 'revisions' && more !== undefined) return readRevision(request, response, url, [id, more]);
    throw notFound('Not Found');
  };

  const handle = async (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> => {
    const path = url.pathname.split('/').slice(1).map(decodeURIComponent);
    if (url.pathname === '/uc') return download(request, response, url);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined || !accepts(token)) throw new Refusal(401, 'authError', 'Invalid Credentials');
    const [upload, ...rest] = path[0] === 'upload' ? [true, ...path.slice(1)] : [false, ...path];
    const [api, version, kind, ...more] = rest;
    if (api !== 'drive' || version !== 'v3') throw notFound('Not Found');
    if (upload) {
      if (kind !== 'files' || more.length > 1) throw notFound('Not Found');
      const [id] = more;
      allow(url, id === undefined ? 'create' : 'update');
      const before = id === undefined ? undefined : files.find(id, sees(url));
      const check = (resource: Record<string, unknown>) => files.check(resource, sees(url), before);
      return uploads.handle(request, response, { url, id, check });
    }
    if (kind === 'files') return handleFiles(request, response, url, more);
    if (kind === 'drives' && more[0] !== undefined) {
      const { id, name } = files.find(more[0], true);
      return send(response, { kind: 'drive#drive', id, name });
    }
    if (kind !== 'about') throw notFound('Not Found');
    const about = {
      kind: 'drive#about',
      user: { displayName: 'me', emailAddress: 'me@example.org' },
      storageQuota: { limit: '16106127360', usage: '0', usageInDrive: '0', usageInDriveTrash: '0' },
      importFormats: {},
      exportFormats: {},
    };
    // It has no default fields.
    send(response, pick(about, url.searchParams.get('fields') ?? ''));
  };

  const download = (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const file = files.find(url.searchParams.get('id') ?? '', true);
    if (!file.permissions.some(({ type }) => type === 'anyone')) throw notFound('Not Found');
    sendMedia(request, response, file.revisions.at(-1)?.bytes);
  };

  const issueToken = (response: ServerResponse) => {
    const token = `ya29.${randomUUID()}`;
    issued.add(token);
    const kind = 'urn:ietf:params:oauth:token-type:access_token';
    send(response, { access_token: token, issued_token_type: kind, token_type: 'Bearer', expires_in: 3600 });
  };

  const server = await startGoogleServer({ fault: options.fault, issueToken, handle });

  return {
    ...server,
    files,
    sessions: uploads.sessions,
    addSharedDrive: (name) => {
      const id = `0A${randomUUID().replaceAll('-', '').slice(0, 17)}`;
      return files.add({ id, name, mimeType: FOLDER, parents: [], driveId: id }).id;
    },
    at: (path, root = files.root.id) => {
      let parents = [root];
      let found: FakeFile[] = [];
      for (const name of path.split('/')) {
        found = [...files.all.values()].filter(
          (file) =>
            file.name === name &&
            file.parents.some((parent) => parents.includes(parent)) &&
            !files.isTrashed(file),
        );
        parents = found.map(({ id }) => id);
      }
      return found;
    },
  };
}

function allow(url: URL, method: string): void {
  const allowed = [...COMMON, ...(ALLOWED[method] ?? [])];
  for (const name of url.searchParams.keys())
    if (!allowed.includes(name)) throw invalid(`Invalid JSON payload received. Unknown name "${name}"`);
}

const toToken = (...parts: string[]) => Buffer.from(JSON.stringify(parts)).toString('base64url');

function fromToken(token: string | null): string[] {
  try {
    return token === null ? [] : (JSON.parse(Buffer.from(token, 'base64url').toString()) as string[]);
  } catch {
    throw invalid('Invalid page token');
  }
}
