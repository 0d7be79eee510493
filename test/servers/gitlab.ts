/**
 * GitLab's API as far as images need it: generic packages with their files, and single files of job artifacts. After "Packages API",
 * "Generic packages repository" and "Job artifacts API" of GitLab's documentation. It holds the client to the names that GitLab allows,
 * gives pages of what length it likes by Link headers, keeps files of one name beside each other and serves the newest.
 *
 * With `storage`, files are in an object storage on another origin, to which a download is redirected by a link that ends, and which
 * refuses a request with a token.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type FaultServer, startFaultServer } from './http-faults.ts';

export interface GitlabOptions {
  readonly storage?: boolean;
  /** Sees every request first; true if it has answered it. */
  readonly before?: (
    request: IncomingMessage,
    response: ServerResponse,
  ) => Promise<unknown> | boolean | undefined;
  /** What is stored of the bytes that are sent. */
  readonly stores?: (bytes: Buffer) => Buffer;
  /** The path of a project that was renamed: its addresses lead to those of the new one. */
  readonly formerly?: string;
  /** Entries in a page, whatever the client wishes. */
  readonly page?: number;
}

export interface FakeGitlab extends FaultServer {
  /** Files of all packages, as `package/version/file`, the oldest first. */
  files(): string[];
  /** Names and versions of all packages. */
  packages(): string[];
  /** Stores an artifact: `<job>/<path>`. */
  artifact(path: string, bytes: Buffer): void;
  /** Ends all links to the storage. */
  endLinks(): void;
  /** Requests that reached the object storage. */
  readonly stored: FaultServer | undefined;
}

export const GITLAB_PROJECT = 'group/sub/project';
/** A token of each kind, by the header it is sent in. */
export const GITLAB_TOKENS = {
  'private-token': 'glpat-tester',
  'deploy-token': 'gldt-tester',
  'job-token': 'glcbt-tester',
} as const;

const NAME = /^(?!.*\.\.)[A-Za-z0-9._-]{1,255}$/;
const ID = encodeURIComponent(GITLAB_PROJECT);

interface StoredFile {
  readonly id: number;
  readonly packageId: number;
  readonly name: string;
  readonly bytes: Buffer;
  readonly created: string;
}
interface StoredPackage {
  readonly id: number;
  readonly name: string;
  readonly version: string;
  readonly created: string;
}

export async function startFakeGitlab(options: GitlabOptions = {}): Promise<FakeGitlab> {
  let packages: StoredPackage[] = [];
  let files: StoredFile[] = [];
  const artifacts = new Map<string, Buffer>();
  const links = new Map<string, Buffer>();
  let lastId = 100;

  const stored = options.storage
    ? await startFaultServer((request, response) => {
        const hasToken = Object.keys(GITLAB_TOKENS).some((name) => request.headers[name] !== undefined);
        const bytes = links.get(new URL(request.url ?? '', 'http://x').searchParams.get('signature') ?? '');
        if (hasToken || request.headers.authorization !== undefined) response.writeHead(400).end();
        else if (bytes === undefined) response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
        else sendBytes(request, response, bytes, true);
      })
    : undefined;

  const server = await startFaultServer(async (request, response) => {
    if ((await options.before?.(request, response)) === true) return;
    const url = new URL(request.url ?? '', 'http://x');
    const former = options.formerly && `/projects/${encodeURIComponent(options.formerly)}/`;
    if (former && url.pathname.includes(former)) {
      const location = request.url?.replace(former, `/projects/${ID}/`);
      return void response.writeHead(302, { location }).end();
    }
    const send = (status: number, value: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(status === 204 || request.method === 'HEAD' ? undefined : JSON.stringify(value));
    };
    const notFound = (what: string) => send(404, { message: `404 ${what} Not Found` });
    const body = request.method === 'PUT' ? await buffer(request).catch(() => undefined) : undefined;
    const given = Object.entries(GITLAB_TOKENS).filter(([name]) => request.headers[name] !== undefined);
    if (given.length !== 1 || given.some(([name, token]) => request.headers[name] !== token))
      return send(401, { message: '401 Unauthorized' });
    if (url.pathname === '/api/v4/version') return send(200, { version: '18.5.0' });
    const [, project, rest = ''] = /^\/api\/v4\/projects\/([^/]+)\/(.+)$/.exec(url.pathname) ?? [];
    if (project !== ID) return notFound('Project');
    const pageOf = (all: readonly object[]) => {
      const size = options.page ?? Math.min(100, Number(url.searchParams.get('per_page') ?? 20));
      const page = Number(url.searchParams.get('page') ?? 1);
      const next = new URL(url.pathname + url.search, `http://${request.headers.host}`);
      next.searchParams.set('page', String(page + 1));
      const more: Record<string, string> = page * size < all.length ? { link: `<${next}>; rel="next"` } : {};
      send(200, all.slice((page - 1) * size, page * size), more);
    };

    const [, job, path] = /^jobs\/(\d+)\/artifacts\/(.+)$/.exec(rest) ?? [];
    if (job !== undefined) {
      const bytes = artifacts.get(`${job}/${decodeURIComponent(path ?? '')}`);
      // Workhorse unpacks it on the way: no ranges, and no length.
      if (bytes === undefined) return notFound('File');
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      return void response.end(request.method === 'HEAD' ? undefined : bytes);
    }

    const generic = /^packages\/generic\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(rest)?.slice(1);
    if (generic !== undefined) {
      const [name = '', version = '', file = ''] = generic.map(decodeURIComponent);
      const bad = [name, version, file].find((one) => !NAME.test(one));
      if (bad !== undefined) return send(400, { error: `${bad} is invalid` });
      const own = packages.find((one) => one.name === name && one.version === version);
      const newest = files.filter((one) => one.packageId === own?.id && one.name === file).at(-1);
      if (request.method === 'PUT') {
        // A broken upload stores nothing.
        if (body === undefined || body.length !== Number(request.headers['content-length'])) return;
        const created = new Date().toISOString();
        const within = own ?? { id: ++lastId, name, version, created };
        if (own === undefined) packages.push(within);
        const bytes = options.stores?.(body) ?? body;
        const one = { id: ++lastId, packageId: within.id, name: file, bytes, created };
        files.push(one);
        const isFile = url.searchParams.get('select') === 'package_file';
        return send(201, isFile ? fileEntry(one) : { message: '201 Created' });
      }
      if (newest === undefined) return notFound('Package');
      if (stored === undefined) return sendBytes(request, response, newest.bytes, true);
      const signature = randomUUID();
      links.set(signature, newest.bytes);
      return send(302, {}, { location: `${stored.url}/bucket/${newest.id}?signature=${signature}` });
    }

    if (rest === 'packages') {
      const [part = '', version] = [
        url.searchParams.get('package_name')?.toLowerCase(),
        url.searchParams.get('package_version'),
      ];
      const found = packages.filter(
        (one) => one.name.toLowerCase().includes(part) && (version === null || one.version === version),
      );
      return pageOf(
        found.map(({ id, name, version: v, created }) => ({
          ...{ id, name, version: v, package_type: 'generic', status: 'default', created_at: created },
        })),
      );
    }
    const [, packageId, what, fileId] =
      /^packages\/(\d+)(?:\/(package_files)(?:\/(\d+))?)?$/.exec(rest) ?? [];
    const own = packages.find(({ id }) => id === Number(packageId));
    if (own === undefined) return notFound('Package');
    if (request.method === 'DELETE') {
      if (what !== undefined && !files.some(({ id }) => id === Number(fileId)))
        return notFound('Package file');
      files = files.filter(({ id, packageId: within }) =>
        what === undefined ? within !== own.id : id !== Number(fileId),
      );
      if (what === undefined) packages = packages.filter(({ id }) => id !== own.id);
      return send(204, undefined);
    }
    pageOf(files.filter(({ packageId: within }) => within === own.id).map(fileEntry));
  });

  return {
    ...server,
    stored,
    packages: () => packages.map(({ name, version }) => `${name}/${version}`),
    files: () =>
      files.map(({ packageId, name }) => {
        const own = packages.find(({ id }) => id === packageId);
        return `${own?.name}/${own?.version}/${name}`;
      }),
    artifact: (path, bytes) => void artifacts.set(path, bytes),
    endLinks: () => links.clear(),
    close: async () => {
      await stored?.close();
      await server.close();
    },
  };
}

const fileEntry = ({ id, packageId, name, bytes, created }: StoredFile) => ({
  id,
  package_id: packageId,
  created_at: created,
  file_name: name,
  size: bytes.length,
  file_md5: null,
  file_sha1: null,
  file_sha256: createHash('sha256').update(bytes).digest('hex'),
});

function sendBytes(request: IncomingMessage, response: ServerResponse, bytes: Buffer, ranges: boolean): void {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const headers = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
  const isHead = request.method === 'HEAD';
  if (first === undefined || !ranges) {
    response.writeHead(200, { ...headers, 'content-length': bytes.length }).end(isHead ? undefined : bytes);
    return;
  }
  const [start, end] = [
    Number(first),
    Math.min(bytes.length - 1, last ? Number(last) : Number.POSITIVE_INFINITY),
  ];
  if (start > end) return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
  response.writeHead(206, {
    ...headers,
    'content-length': end - start + 1,
    'content-range': `bytes ${start}-${end}/${bytes.length}`,
  });
  response.end(bytes.subarray(start, end + 1));
}
