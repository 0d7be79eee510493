/**
 * Singularity Hub in memory, as its clients know it: manifests below `/api/container/`, all collections in pages below
 * `/api/collections/`, image files that the manifests point to. Each file lies behind a redirect to storage on another
 * port, where it can be read in ranges for those who come with the redirect's signature.
 *
 * Checked against Apptainer 1.4's `shub://` client, which pulls from it in hub.test.ts.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';

export interface FakeHubOptions {
  /** Collections on a page of the list. Default: all. */
  readonly pageSize?: number;
  /** Manifests point to files of this server itself, so that a proxy in front of it sees every byte. */
  readonly direct?: boolean;
  /** Sees every request first; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
}

export interface FakeHub extends FaultServer {
  /** Where files are redirected to. */
  readonly storage: FaultServer;
  /** Stores a version, which becomes the one of its tag; `name` is `vsoch/hello-world:latest`. Its version is returned. */
  put(name: string, bytes: Buffer, more?: Record<string, unknown>): string;
  drop(name: string): void;
  /** From now on the addresses given so far are refused, as signatures that have expired are. */
  expire(): void;
}

interface Build {
  readonly bytes: Buffer;
  readonly version: string;
  readonly commit: string;
  readonly more: Record<string, unknown>;
}

const hash = (algorithm: string, bytes: Buffer | string) => createHash(algorithm).update(bytes).digest('hex');

export async function startFakeHub(options: FakeHubOptions = {}): Promise<FakeHub> {
  /** By name, the newest last. */
  const builds = new Map<string, Build[]>();
  const files = new Map<string, Buffer>();
  let signature = 1;

  const storage = await startFaultServer((request, response) => {
    const url = new URL(request.url ?? '', storage.url);
    if (url.searchParams.get('signature') !== String(signature)) return fail(response, 403, 'expired');
    sendFile(request, response, files, url.pathname.slice(1));
  });

  const find = (path: string): [string, Build] | undefined => {
    const [name = '', wanted] = path.split('@');
    const all = builds.get(name) ?? [];
    const build = all.findLast(({ version, commit }) => !wanted || [version, commit].includes(wanted));
    return build === undefined ? undefined : [name, build];
  };

  const manifest = (path: string, host: string, response: ServerResponse) => {
    const found = find(path);
    if (found === undefined) return fail(response, 404, 'Not found.');
    const [name, { version, commit, more }] = found;
    const [repository, tag] = name.split(':');
    const image = `http://${host}/download/${version}.simg?signature=${signature}`;
    send(response, { id: 1, name: repository, branch: 'master', tag, version, commit, image, ...more });
  };

  const collections = (url: URL, response: ServerResponse) => {
    const repositories = Map.groupBy(builds.keys(), (name) => name.split(':')[0] ?? '');
    const all = [...repositories].map(([name, tags], number) => ({
      id: 1000 + number,
      name,
      containers: tags.map((full) => ({
        name,
        tag: full.split(':')[1],
        detail: `${url.origin}/containers/${number}`,
      })),
    }));
    const size = options.pageSize ?? Math.max(1, all.length);
    const page = Number(url.searchParams.get('page') ?? 1);
    const next = page * size < all.length ? `${url.origin}/api/collections/?page=${page + 1}` : null;
    send(response, {
      count: all.length,
      next,
      previous: null,
      results: all.slice((page - 1) * size, page * size),
    });
  };

  const server = await startFaultServer((request, response) => {
    if (options.fault?.(request, response)) return;
    const host = request.headers.host ?? '';
    const url = new URL(request.url ?? '', `http://${host}`);
    const path = decodeURIComponent(url.pathname);
    if (path.startsWith('/api/container/'))
      return manifest(path.slice('/api/container/'.length), host, response);
    if (path === '/api/collections/') return collections(url, response);
    if (!path.startsWith('/download/')) return fail(response, 404, 'Not found.');
    const file = path.slice('/download/'.length);
    if (url.searchParams.get('signature') !== String(signature)) return fail(response, 403, 'expired');
    if (options.direct) return sendFile(request, response, files, file);
    response.writeHead(302, { location: `${storage.url}/${file}${url.search}` }).end();
  });

  const close = async () => {
    await server.close();
    await storage.close();
  };
  return {
    ...server,
    storage,
    put: (name, bytes, more = {}) => {
      const version = hash('md5', bytes);
      const all = (builds.get(name) ?? []).filter((build) => build.version !== version);
      builds.set(name, [...all, { bytes, version, commit: hash('sha1', bytes), more }]);
      files.set(`${version}.simg`, bytes);
      return version;
    },
    drop: (name) => {
      for (const { version } of builds.get(name) ?? []) files.delete(`${version}.simg`);
      builds.delete(name);
    },
    expire: () => {
      signature += 1;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  files: ReadonlyMap<string, Buffer>,
  name: string,
): void {
  const bytes = files.get(name);
  if (bytes === undefined) {
    fail(response, 404, 'NoSuchKey');
    return;
  }
  // Files are called after their MD5.
  const etag = `"${name.slice(0, 32)}"`;
  const wanted = request.headers['if-match'];
  if (wanted !== undefined && wanted !== etag) {
    response.writeHead(412).end();
    return;
  }
  response.setHeader('last-modified', new Date(1_500_000_000_000).toUTCString());
  sendRange(request, response, bytes, { etag });
}

function send(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function fail(response: ServerResponse, status: number, detail: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ detail }));
}
