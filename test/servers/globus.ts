/**
 * Globus on one origin: Globus Auth, Globus Transfer, and the HTTPS servers of collections, each below `/files/<id>/`. The files are on
 * disk. Tokens count for one resource server and its scopes only.
 *
 * Checked against Globus's client library for Python (globus_sdk).
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { FakeAuth, TRANSFER } from './globus/auth.ts';
import { type Collection, type CollectionOptions, Collections, refuse } from './globus/collections.ts';
import { Refusal, send } from './globus/refusal.ts';
import { FakeTransfer, type TransferOptions } from './globus/transfer.ts';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';

export interface FakeGlobusOptions extends TransferOptions {
  /** What collections tell of a revision over HTTPS. Default `etag`. */
  readonly validator?: 'etag' | 'modified' | 'none';
  /** Sees every request to Transfer first; what it throws is the answer. */
  readonly before?: (method: string, url: URL, body: Readonly<Record<string, unknown>>) => void;
}

export interface FakeGlobus extends FaultServer {
  readonly auth: FakeAuth;
  readonly transfer: FakeTransfer;
  readonly collections: Collections;
  /** A folder for everything on disk; removed by `close`. */
  readonly folder: string;
  /** Adds a collection, with a folder of its own if it is not given. */
  add(options: Omit<CollectionOptions, 'folder'> & { readonly folder?: string }): Promise<Collection>;
}

export async function startFakeGlobus(options: FakeGlobusOptions = {}): Promise<FakeGlobus> {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-globus-'));
  const collections = new Collections();
  const auth = new FakeAuth(collections);
  const transfer = new FakeTransfer(collections, options);

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
    if (url.pathname.startsWith('/v2/'))
      return auth.handle(url, new URLSearchParams(await text(request)), response);
    const [, , id = ''] = url.pathname.split('/');
    if (url.pathname.startsWith('/files/')) {
      const collection = collections.get(id);
      mayUse(auth, collection, request);
      return await serveFile(collection, url, request, response, options.validator ?? 'etag');
    }
    const grant = auth.check(request.headers.authorization, TRANSFER);
    if (grant === undefined) throw new Refusal(401, 'AuthenticationFailed', 'No credentials supplied');
    const body = await text(request);
    options.before?.(request.method ?? '', url, body ? JSON.parse(body) : {});
    send(
      response,
      await transfer.answer(request.method ?? '', url, body ? JSON.parse(body) : {}, grant.scopes),
    );
  };

  const server = await startFaultServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      request.resume();
      if (response.headersSent) response.destroy();
      else if (error instanceof Refusal) send(response, error.body, error.status);
      else response.writeHead(500).end(String(error));
    });
  });
  return {
    ...server,
    auth,
    transfer,
    collections,
    folder,
    add: (added) => collections.add({ folder: join(folder, randomUUID()), ...added }),
    close: async () => {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Files are for those with a token of the collection; public ones for everybody. A browser is sent to a page to log in. */
function mayUse(auth: FakeAuth, { id, https, scopes, options }: Collection, request: IncomingMessage): void {
  if (!https) throw new Refusal(404, 'NotFound', 'This collection has no HTTPS');
  const grant = auth.check(request.headers.authorization, id);
  if (grant?.scopes.has(scopes.https)) return;
  if (grant === undefined && options.isPublic && request.method !== 'PUT') return;
  if (request.headers['x-requested-with'] === 'XMLHttpRequest')
    throw new Refusal(401, 'unauthorized', 'Log in');
  throw new Refusal(403, 'login_required', 'A browser would be redirected to log in');
}

async function serveFile(
  collection: Collection,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
  validator: NonNullable<FakeGlobusOptions['validator']>,
): Promise<void> {
  const path = decodeURIComponent(url.pathname.split('/').slice(3).join('/'));
  const file = collection.onDisk(`/${path}`);
  if (request.method === 'PUT') {
    await stat(dirname(file)).catch((error) => refuse(error, path));
    const part = join(dirname(file), `.put-${randomUUID()}`);
    await pipeline(request, createWriteStream(part));
    await rename(part, file);
    response.writeHead(201).end();
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new Refusal(405, 'method_not_allowed', 'no');
  const found = await stat(file, { bigint: true }).catch((error) => refuse(error, path));
  if (found.isDirectory()) throw new Refusal(404, 'not_found', 'This is a folder');
  const etag = `"${found.ino.toString(16)}-${found.mtimeNs.toString(16)}"`;
  if (validator === 'etag') response.setHeader('etag', etag);
  if (validator !== 'none') response.setHeader('last-modified', found.mtime.toUTCString());
  const wanted = request.headers['if-match'];
  if (validator === 'etag' && wanted !== undefined && wanted !== etag) {
    response.writeHead(412).end();
    return;
  }
  if (request.method === 'HEAD') {
    response.writeHead(200, { 'content-length': String(found.size), 'accept-ranges': 'bytes' }).end();
    return;
  }
  sendRange(request, response, await readFile(file));
}
