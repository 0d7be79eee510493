/**
 * A web server for a folder, as nginx is with `autoindex on` and its WebDAV module: ranges, conditions, an index of each
 * folder in one of several styles; PUT and DELETE where it may be written to, PUT with `If-None-Match: *` as well. What is
 * replaced is replaced whole.
 *
 * Checked against nginx 1.22, Apache 2.4 and Caddy 2.6: the http driver passes its conformance suite with those as with this.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdtempSync, type Stats } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { INDEXES } from './file-indexes.ts';
import { type FaultServer, startFaultServer } from './http-faults.ts';

export interface FileServerOptions {
  /** Default `nginx`. Without one, folders are 403, as nginx has it. */
  readonly index?: keyof typeof INDEXES | 'none';
  /** Default `strong`. */
  readonly etag?: 'strong' | 'weak' | 'none';
  /** Takes PUT and DELETE. */
  readonly writable?: boolean;
  /** Asks every request for it: `Basic dXNlcjpwYXNz`, `Bearer abc`. */
  readonly authorization?: string;
}

export interface FileServer extends FaultServer {
  /** What it shows. Removed when it closes. */
  readonly folder: string;
  /** Stores a file as others do: in one step, folders made. */
  put(path: string, bytes: Buffer | string): Promise<void>;
}

export async function startFileServer(options: FileServerOptions = {}): Promise<FileServer> {
  const folder = mkdtempSync(join(tmpdir(), 'sregistry-files-'));
  const server = await startFaultServer((request, response) => {
    answer(folder, options, request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  const close = async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  };
  return {
    ...server,
    folder,
    put: (path, bytes) => store(join(folder, path), [Buffer.from(bytes)]),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function answer(
  root: string,
  options: FileServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '', 'http://server');
  const path = join(root, decodeURIComponent(pathname));
  if (options.authorization !== undefined && request.headers.authorization !== options.authorization) {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="files"' }).end();
    return;
  }
  if (request.method === 'PUT' && options.writable) return put(path, request, response);
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined || stats.isFile() === pathname.endsWith('/')) response.writeHead(404).end();
  else if (request.method === 'DELETE' && options.writable) await remove(path, response);
  else if (request.method !== 'GET' && request.method !== 'HEAD') response.writeHead(405).end();
  else if (stats.isDirectory()) await sendIndex(path, pathname, options.index ?? 'nginx', response);
  else await sendFile(path, stats, options, request, response);
}

async function put(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const digest = request.headers['repr-digest'];
  const isNew = request.headers['if-none-match'] === '*';
  const wasThere = await stat(path).catch(() => undefined);
  await store(path, request, { digest: digest === undefined ? undefined : String(digest), isNew }).then(
    () => response.writeHead(wasThere === undefined ? 201 : 204).end(),
    (error: unknown) => response.writeHead(statusOf(error)).end(),
  );
}

function statusOf(error: unknown): number {
  if (error instanceof RangeError) return 400;
  return (error as NodeJS.ErrnoException).code === 'EEXIST' ? 412 : 500;
}

/** Throws RangeError where the bytes do not have the digest, EEXIST where `isNew` and the file is not. */
async function store(
  path: string,
  bytes: Iterable<Buffer> | AsyncIterable<Buffer>,
  { digest, isNew = false }: { digest?: string | undefined; isNew?: boolean } = {},
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `.${process.hrtime.bigint()}`);
  await pipeline(bytes, createWriteStream(temporary));
  if (digest !== undefined && digest !== reprDigest(await readFile(temporary))) {
    await rm(temporary);
    throw new RangeError('another digest');
  }
  if (!isNew) return rename(temporary, path);
  await link(temporary, path).finally(() => rm(temporary));
}

/** RFC 9530 section 3. */
function reprDigest(bytes: Buffer): string {
  return `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
}

async function remove(path: string, response: ServerResponse): Promise<void> {
  await rm(path);
  response.writeHead(204).end();
}

async function sendFile(
  path: string,
  stats: Stats,
  { etag = 'strong' }: FileServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const tag = `${etag === 'weak' ? 'W/' : ''}"${stats.ino.toString(16)}-${stats.mtimeMs.toString(16)}"`;
  const modified = stats.mtime.toUTCString();
  const { headers, method } = request;
  const unmodifiedSince = headers['if-unmodified-since'];
  response.setHeader('last-modified', modified);
  response.setHeader('accept-ranges', 'bytes');
  response.setHeader('content-type', 'application/octet-stream');
  if (etag !== 'none') response.setHeader('etag', tag);
  const isOther =
    headers['if-match'] === undefined
      ? unmodifiedSince !== undefined && Date.parse(modified) > Date.parse(unmodifiedSince)
      : headers['if-match'] !== tag || etag === 'weak';
  if (isOther) {
    response.writeHead(412).end();
    return;
  }
  const match = /^bytes=(\d+)-(\d*)$/.exec(method === 'GET' ? (headers.range ?? '') : '');
  const start = Number(match?.[1] ?? 0);
  const end = Math.min(match?.[2] ? Number(match[2]) : stats.size - 1, stats.size - 1);
  if (match && start > end) {
    response.writeHead(416, { 'content-range': `bytes */${stats.size}` }).end();
    return;
  }
  response.writeHead(match ? 206 : 200, {
    'content-length': end - start + 1,
    ...(match && { 'content-range': `bytes ${start}-${end}/${stats.size}` }),
  });
  if (method === 'HEAD' || stats.size === 0) response.end();
  else await pipeline(createReadStream(path, { start, end }), response);
}

async function sendIndex(
  path: string,
  pathname: string,
  style: FileServerOptions['index'],
  response: ServerResponse,
): Promise<void> {
  if (style === undefined || style === 'none') {
    response.writeHead(403).end();
    return;
  }
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  const entries = await Promise.all(
    names.map(async (name) => ({ name, stats: await stat(join(path, name)) })),
  );
  const [type, body] = INDEXES[style](pathname, entries);
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}
