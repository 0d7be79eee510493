/**
 * A registry in memory that follows the OCI distribution specification 1.1 where CNCF Distribution 2.8, the real one of
 * these tests, does not: it keeps what arrived of a broken chunk, checks `Content-Range`, asks for a least chunk length,
 * pages its listings, redirects blobs, deletes tags, lists referrers of all types. Faults are injected in front of it.
 *
 * Checked against oras 1.3 and crane 0.20: both push to it and pull from it.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';
import type { TokenServer } from './token-server.ts';

export interface FakeRegistryOptions {
  readonly tokens?: TokenServer;
  /** Entries per page of a listing. Default: all. */
  readonly pageSize?: number;
  /** `OCI-Chunk-Min-Length`. */
  readonly minChunk?: number;
  /** Origin that blobs are redirected to. */
  readonly storage?: string;
  /** Sees every request first and may change it; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
}

export interface FakeRegistry extends FaultServer {
  readonly blobs: Map<string, Buffer>;
  /** By `repository:tag` and `repository@digest`. */
  readonly manifests: Map<string, { bytes: Buffer; type: string }>;
  /** Bytes of open uploads, by id. */
  readonly uploads: Map<string, Buffer>;
  putManifest(repository: string, tag: string, manifest: object): string;
}

export const digest = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export async function startFakeRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests: FakeRegistry['manifests'] = new Map();
  const uploads = new Map<string, Buffer>();

  const store = (repository: string, reference: string, bytes: Buffer, type: string): string => {
    for (const key of [`${repository}@${digest(bytes)}`, `${repository}:${reference}`])
      if (!key.endsWith(`:${digest(bytes)}`)) manifests.set(key, { bytes, type });
    return digest(bytes);
  };
  const find = (repository: string, reference: string) =>
    manifests.get(`${repository}${reference.startsWith('sha256:') ? '@' : ':'}${reference}`);

  /** Descriptors as in "Listing Referrers": the type is that of the configuration if the manifest states no other. */
  const referrersOf = (repository: string, subject: string): object[] =>
    [...manifests].flatMap(([key, { bytes, type }]) => {
      if (!key.startsWith(`${repository}@`)) return [];
      const { artifactType, annotations, config, ...manifest } = JSON.parse(bytes.toString());
      if (manifest.subject?.digest !== subject) return [];
      return {
        mediaType: type,
        digest: digest(bytes),
        size: bytes.length,
        artifactType: artifactType ?? config?.mediaType,
        annotations,
      };
    });

  const handle = async (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> => {
    const { method = '' } = request;
    const fail = (status: number, code: string) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase() }] }));
    };
    const page = (property: string, all: readonly string[]) => {
      const last = url.searchParams.get('last');
      const rest = all.filter((name) => last === null || name > last);
      const names = rest.slice(0, options.pageSize);
      if (names.length < rest.length)
        response.setHeader('link', `<${url.pathname}?last=${names.at(-1)}&n=100>; rel="next"`);
      response.end(JSON.stringify({ [property]: names }));
    };
    if (url.pathname === '/v2/') return void response.end('{}');
    if (url.pathname === '/v2/_catalog')
      return page(
        'repositories',
        [...new Set([...manifests.keys()].map((key) => key.split(/[:@]/)[0] ?? ''))].sort(),
      );
    const [, repository = '', kind, rest = ''] =
      /^\/v2\/(.+?)\/(manifests|blobs\/uploads|blobs|tags|referrers)\/(.*)$/.exec(url.pathname) ?? [];
    if (kind === 'tags') {
      const keys = [...manifests.keys()].filter((key) => key.startsWith(`${repository}:`));
      if (keys.length === 0) return fail(404, 'NAME_UNKNOWN');
      return page('tags', keys.map((key) => key.slice(repository.length + 1)).sort());
    }
    if (kind === 'referrers') {
      const found = referrersOf(repository, rest);
      const from = Number(url.searchParams.get('from') ?? 0);
      const to = from + (options.pageSize ?? found.length);
      if (to < found.length) response.setHeader('link', `<${url.pathname}?from=${to}>; rel="next"`);
      const mediaType = 'application/vnd.oci.image.index.v1+json';
      response.setHeader('content-type', mediaType);
      return void response.end(
        JSON.stringify({ schemaVersion: 2, mediaType, manifests: found.slice(from, to) }),
      );
    }
    if (kind === 'manifests') return handleManifest(request, response, repository, rest, method, fail);
    if (kind === 'blobs') return handleBlob(request, response, repository, rest, method, fail);
    if (kind === 'blobs/uploads') return handleUpload(request, response, repository, rest, url, fail);
    fail(404, 'NOT_FOUND');
  };

  type Fail = (status: number, code: string) => void;

  const handleManifest = async (
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
    method: string,
    fail: Fail,
  ): Promise<void> => {
    if (method === 'PUT') {
      const type = request.headers['content-type'] ?? '';
      const stored = store(repository, reference, await collect(request), type);
      return void response.writeHead(201, { 'docker-content-digest': stored }).end();
    }
    const found = find(repository, reference);
    if (found === undefined) return fail(404, 'MANIFEST_UNKNOWN');
    if (method === 'DELETE') {
      manifests.delete(`${repository}:${reference}`);
      return void response.writeHead(202).end();
    }
    response.writeHead(200, {
      'content-type': found.type,
      'content-length': found.bytes.length,
      'docker-content-digest': digest(found.bytes),
    });
    response.end(method === 'HEAD' ? undefined : found.bytes);
  };

  const handleBlob = async (
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
    method: string,
    fail: Fail,
  ): Promise<void> => {
    const bytes = blobs.get(`${repository}@${reference}`);
    if (bytes === undefined) return fail(404, 'BLOB_UNKNOWN');
    if (method === 'HEAD') return void response.writeHead(200, { 'content-length': bytes.length }).end();
    if (options.storage !== undefined)
      return void response.writeHead(307, { location: `${options.storage}/${reference}?sig=secret` }).end();
    sendRange(request, response, bytes);
  };

  const handleUpload = async (
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    id: string,
    url: URL,
    fail: Fail,
  ): Promise<void> => {
    const answer = (status: number, session: string) =>
      response
        .writeHead(status, {
          location: `/v2/${repository}/blobs/uploads/${session}?state=a%2Bb`,
          range: `0-${Math.max(0, (uploads.get(session)?.length ?? 0) - 1)}`,
          ...(options.minChunk === undefined ? {} : { 'oci-chunk-min-length': options.minChunk }),
        })
        .end();
    if (request.method === 'POST') {
      const mounted = blobs.get(`${url.searchParams.get('from')}@${url.searchParams.get('mount')}`);
      if (mounted !== undefined) {
        blobs.set(`${repository}@${digest(mounted)}`, mounted);
        return void response.writeHead(201).end();
      }
      const session = randomUUID();
      uploads.set(session, Buffer.alloc(0));
      return void answer(202, session);
    }
    const before = uploads.get(id);
    if (before === undefined) return fail(404, 'BLOB_UPLOAD_UNKNOWN');
    if (request.method === 'GET') return void answer(204, id);
    if (request.method === 'DELETE') {
      uploads.delete(id);
      return void response.writeHead(204).end();
    }
    const range = request.headers['content-range'];
    if (range !== undefined && Number(range.split('-')[0]) !== before.length)
      return fail(416, 'BLOB_UPLOAD_INVALID');
    let bytes = before;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes = Buffer.concat([bytes, chunk]);
      uploads.set(id, bytes);
    }
    if (request.method === 'PATCH') return void answer(202, id);
    const stated = url.searchParams.get('digest') ?? '';
    if (stated !== digest(bytes)) return fail(400, 'DIGEST_INVALID');
    uploads.delete(id);
    blobs.set(`${repository}@${stated}`, bytes);
    response.writeHead(201, { 'docker-content-digest': stated }).end();
  };

  const server: FaultServer = await startFaultServer((request, response) => {
    request.on('error', () => {});
    if (request.url?.startsWith('/token')) return void options.tokens?.issue(request, response);
    if (options.fault?.(request, response)) return;
    const url = new URL(request.url ?? '', server.url);
    if (options.tokens?.admit(request, response, scopeOf(request, url), `${server.url}/token`) === false)
      return;
    handle(request, response, url).catch(() => response.destroy());
  });

  const putManifest = (repository: string, tag: string, manifest: object) =>
    store(
      repository,
      tag,
      Buffer.from(JSON.stringify(manifest)),
      String((manifest as { mediaType?: string }).mediaType),
    );
  return { ...server, blobs, manifests, uploads, putManifest };
}

function scopeOf({ method }: IncomingMessage, { pathname }: URL): string | undefined {
  if (pathname === '/v2/_catalog') return 'registry:catalog:*';
  const repository = /^\/v2\/(.+?)\/(?:manifests|blobs|tags)\//.exec(pathname)?.[1];
  if (repository === undefined) return undefined;
  const actions =
    method === 'GET' || method === 'HEAD' ? 'pull' : method === 'DELETE' ? 'delete' : 'pull,push';
  return `repository:${repository}:${actions}`;
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
