/** Uploads: plain, with metadata in one request, and in resumable sessions with all that is odd about them. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { GRANULE, receiveChunk } from './chunk.ts';
import type { FakeObjects } from './objects.ts';
import { invalid, notFound, parseResource, send } from './refusal.ts';

export interface FakeSession {
  readonly resource: Record<string, unknown>;
  /** What has arrived. */
  bytes: Buffer;
}

export class FakeUploads {
  /** Open ones, by id. */
  readonly sessions = new Map<string, FakeSession>();
  /** What sessions have become, for those who did not hear the last answer. */
  readonly #completed = new Map<string, unknown>();
  readonly #objects: FakeObjects;

  constructor(objects: FakeObjects) {
    this.#objects = objects;
  }

  async handle(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const id = url.searchParams.get('upload_id');
    if (id !== null) return this.#feed(request, response, url, id);
    const body = await buffer(request);
    const type = url.searchParams.get('uploadType');
    if (type === 'resumable') return this.#open(request, response, url, parseResource(body));
    const { resource, bytes } =
      type === 'multipart'
        ? parseMultipart(request.headers['content-type'] ?? '', body)
        : { resource: { contentType: request.headers['content-type'] }, bytes: body };
    send(response, this.#store(resource, bytes, url));
  }

  #store(resource: Record<string, unknown>, bytes: Buffer, url: URL): Record<string, unknown> {
    const name = String(url.searchParams.get('name') ?? resource.name ?? '');
    const object = this.#objects.store({ ...resource, name }, bytes, url.searchParams);
    return this.#objects.describe(name, object, url.origin);
  }

  #open(request: IncomingMessage, response: ServerResponse, url: URL, given: Record<string, unknown>): void {
    this.#objects.checkInsertion(given, url.searchParams);
    const contentType = request.headers['x-upload-content-type'];
    const session = randomUUID();
    this.sessions.set(session, {
      resource: { ...(contentType && { contentType }), ...given },
      bytes: Buffer.alloc(0),
    });
    url.searchParams.set('upload_id', session);
    response.writeHead(200, { location: url.href, 'content-length': 0 }).end();
  }

  /** A PUT to a session: a chunk, or with `bytes *` as its range the question how much is there. */
  async #feed(request: IncomingMessage, response: ServerResponse, url: URL, id: string): Promise<void> {
    if (this.#completed.has(id)) return send(response, this.#completed.get(id));
    const session = this.sessions.get(id);
    if (session === undefined) throw notFound('The upload session has expired or does not exist.');
    if (request.method === 'DELETE') {
      this.sessions.delete(id);
      response.writeHead(499).end();
      return;
    }
    const isWhole = await receive(request, session);
    if (!isWhole) return incomplete(request, response, session);
    this.sessions.delete(id);
    this.#completed.set(id, this.#store(session.resource, session.bytes, url));
    send(response, this.#completed.get(id));
  }
}

/** Takes a chunk. Is that all of the object? */
async function receive(request: IncomingMessage, session: FakeSession): Promise<boolean> {
  const before = session.bytes;
  const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(request.headers['content-range'] ?? '');
  const start = range?.[1] === undefined ? before.length : Number(range[1]);
  if (start > before.length)
    throw invalid('Invalid request. The content does not begin where the upload ends.');
  const arrived = await receiveChunk(request, session, start);
  const total = range === null ? arrived.length : range[3] === '*' ? undefined : Number(range[3]);
  const isWhole = total !== undefined && arrived.length >= total;
  if (!isWhole && arrived.length > before.length && (arrived.length - start) % GRANULE !== 0)
    throw invalid(
      `Invalid request. The number of bytes uploaded is required to be equal or greater than ${GRANULE}, except for the final request.`,
    );
  session.bytes = arrived.length > before.length ? arrived : before;
  return isWhole;
}

/** Go's HTTP client takes every 308 for a redirect; Google's libraries for Go say so with a header. */
function incomplete(request: IncomingMessage, response: ServerResponse, { bytes }: FakeSession): void {
  const isGo = request.headers['x-guploader-no-308'] === 'yes';
  response.writeHead(isGo ? 200 : 308, {
    ...(isGo && { 'x-http-status-code-override': '308' }),
    ...(bytes.length > 0 && { range: `bytes=0-${bytes.length - 1}` }),
    'content-length': 0,
  });
  response.end();
}

/** `multipart/related` (RFC 2387): the resource, then the content. Google's Python library ends lines with `\n` alone. */
export function parseMultipart(
  type: string,
  body: Buffer,
): { resource: Record<string, unknown>; bytes: Buffer } {
  const boundary = /boundary="?([^";]+)"?/.exec(type)?.[1];
  if (boundary === undefined) throw invalid('No boundary');
  const parts: Buffer[] = [];
  for (let at = body.indexOf(`--${boundary}`); at >= 0; ) {
    const next = body.indexOf(`\n--${boundary}`, at + 1);
    if (next < 0) break;
    const end = body[next - 1] === CARRIAGE_RETURN ? next - 1 : next;
    const part = body.subarray(at, end);
    const blank = /\r?\n\r?\n/.exec(part.toString('latin1'));
    if (blank !== null) parts.push(part.subarray(blank.index + blank[0].length));
    at = next + 1;
  }
  const [head, bytes] = parts;
  if (head === undefined || bytes === undefined) throw invalid('Malformed multipart body');
  return { resource: parseResource(head), bytes };
}

const CARRIAGE_RETURN = 13;
