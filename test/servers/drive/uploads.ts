/** Uploads ("Upload file data", Google Drive API): plain, with metadata in one request, and in resumable sessions. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { GRANULE, receiveChunk } from '../gcs/chunk.ts';
import { invalid, notFound, parseResource } from '../gcs/refusal.ts';
import { parseMultipart } from '../gcs/uploads.ts';

export interface FakeUpload {
  readonly resource: Record<string, unknown>;
  /** The file that gets new content; undefined for a new file. */
  readonly id: string | undefined;
}

export interface FakeSession extends FakeUpload {
  /** Bytes that the client announced. */
  readonly size: number | undefined;
  bytes: Buffer;
}

/** Stores the content, and returns the resource to answer with. */
type Store = (upload: FakeUpload, bytes: Buffer, url: URL) => unknown;

export class FakeUploads {
  readonly sessions = new Map<string, FakeSession>();
  /** What sessions have become, for clients that did not hear the last answer. */
  readonly #completed = new Map<string, unknown>();
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** `check` throws for metadata that is refused. */
  async handle(
    request: IncomingMessage,
    response: ServerResponse,
    {
      url,
      id,
      check,
    }: { url: URL; id: string | undefined; check: (resource: FakeUpload['resource']) => void },
  ): Promise<void> {
    const type = url.searchParams.get('uploadType');
    const session = url.searchParams.get('upload_id');
    if (session !== null) return this.#feed(request, response, url, session);
    if (request.method !== (id === undefined ? 'POST' : 'PATCH')) throw notFound('Not Found');
    const body = await buffer(request);
    const contentType = request.headers['content-type'] ?? '';
    if (type === 'resumable') {
      if (body.length > 0 && !contentType.startsWith('application/json'))
        throw invalid('Metadata must be JSON');
      const resource = parseResource(body);
      check(resource);
      const announced = request.headers['x-upload-content-length'];
      const size = announced === undefined ? undefined : Number(announced);
      const key = randomUUID();
      const mimeType = request.headers['x-upload-content-type'];
      this.sessions.set(key, {
        resource: { ...(mimeType && { mimeType }), ...resource },
        id,
        size,
        bytes: Buffer.alloc(0),
      });
      url.searchParams.set('upload_id', key);
      response.writeHead(200, { location: url.href, 'content-length': 0 }).end();
      return;
    }
    if (type !== 'multipart' && type !== 'media') throw invalid('Unknown uploadType');
    const { resource, bytes } =
      type === 'multipart' ? parseMultipart(contentType, body) : { resource: {}, bytes: body };
    check(resource);
    answer(response, this.#store({ resource, id }, bytes, url));
  }

  /** A PUT, or rclone's POST, to a session: a chunk, or with `bytes *` as its range the question how much is there. */
  async #feed(request: IncomingMessage, response: ServerResponse, url: URL, key: string): Promise<void> {
    if (request.method !== 'PUT' && request.method !== 'POST') throw notFound('Not Found');
    if (this.#completed.has(key)) {
      request.resume();
      return answer(response, this.#completed.get(key));
    }
    const session = this.sessions.get(key);
    if (session === undefined) throw notFound('The upload session has expired or does not exist.');
    if (!(await receive(request, session))) {
      const { length } = session.bytes;
      response
        .writeHead(308, { 'content-length': 0, ...(length > 0 && { range: `bytes=0-${length - 1}` }) })
        .end();
      return;
    }
    this.sessions.delete(key);
    this.#completed.set(key, this.#store(session, session.bytes, url));
    answer(response, this.#completed.get(key));
  }
}

/** Takes a chunk. Is that all of the file? */
async function receive(request: IncomingMessage, session: FakeSession): Promise<boolean> {
  const before = session.bytes;
  const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(
    request.headers['content-range'] ?? 'bytes 0-0/*',
  );
  if (range === null) throw invalid('Invalid Content-Range');
  const isWhole = request.headers['content-range'] === undefined;
  const start = range[1] === undefined ? before.length : Number(range[1]);
  if (start > before.length) throw invalid('The content does not begin where the upload ends.');
  const arrived = await receiveChunk(request, session, start);
  const total = isWhole ? arrived.length : range[3] === '*' ? undefined : Number(range[3]);
  if (total !== undefined && session.size !== undefined && total !== session.size)
    throw invalid(`The upload was announced with ${session.size} bytes, not ${total}.`);
  if (!isWhole && range[2] !== undefined && arrived.length - start !== Number(range[2]) - start + 1)
    throw invalid('The chunk has another length than its Content-Range.');
  const isComplete = total !== undefined && arrived.length >= total;
  if (!isComplete && arrived.length > before.length && (arrived.length - start) % GRANULE !== 0)
    throw invalid(`The size of a chunk must be a multiple of ${GRANULE}, except for the last one.`);
  session.bytes = arrived.length > before.length ? arrived : before;
  return isComplete;
}

function answer(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=UTF-8' }).end(JSON.stringify(value));
}
