/**
 * The object storage behind the fake library: presigned URLs in the manner of S3, each for one method and one object. Like S3 it refuses
 * a URL that has expired or was changed, a request with a login besides, and bytes that do not have the checksum that came with them.
 */
import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { sendRange } from '../http-faults.ts';

export interface Storage {
  readonly objects: Map<string, Buffer>;
  /** A URL at `host` that lets its bearer do one thing. `headers` must come with the request, with these values. */
  sign(host: string, method: 'GET' | 'PUT', key: string, options?: SignOptions): string;
  /** Is it a request for the storage? */
  isFor(url: URL): boolean;
  /** `body`: what was sent. */
  answer(request: IncomingMessage, response: ServerResponse, url: URL, body: Buffer): void;
  /** From now on the URLs given so far have expired. */
  expire(): void;
}

export interface SignOptions {
  /** Bytes that must be put. */
  readonly size?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

const FOLDER = '/storage/';
const LIFETIME = 300;
const hash = (algorithm: string, bytes: Buffer) => createHash(algorithm).update(bytes).digest();

export function createStorage(): Storage {
  const secret = randomUUID();
  const objects = new Map<string, Buffer>();
  let epoch = 0;

  const signatureOf = (method: string, url: URL) => {
    const signed = new URL(url);
    signed.searchParams.delete('X-Amz-Signature');
    return createHmac('sha256', secret).update(`${method} ${signed.pathname}${signed.search}`).digest('hex');
  };

  const sign: Storage['sign'] = (host, method, key, { size, headers = {} } = {}) => {
    const url = new URL(`http://${host}${FOLDER}${encodeURIComponent(key)}`);
    url.searchParams.set('X-Amz-Algorithm', 'AWS4-HMAC-SHA256');
    url.searchParams.set('X-Amz-Date', `${epoch}`);
    url.searchParams.set('X-Amz-Expires', String(LIFETIME));
    url.searchParams.set('X-Amz-SignedHeaders', ['host', ...Object.keys(headers)].join(';'));
    // S3 signs the values too; here they are part of what is signed.
    url.searchParams.set('test-headers', JSON.stringify(headers));
    if (size !== undefined) url.searchParams.set('test-size', String(size));
    url.searchParams.set('X-Amz-Signature', signatureOf(method, url));
    return url.href;
  };

  const refusal = (request: IncomingMessage, url: URL, body: Buffer): [number, string] | undefined => {
    const { authorization, ...headers } = request.headers;
    if (authorization !== undefined) return [400, 'Only one auth mechanism allowed'];
    if (url.searchParams.get('X-Amz-Signature') !== signatureOf(request.method ?? '', url))
      return [403, 'SignatureDoesNotMatch'];
    if (url.searchParams.get('X-Amz-Date') !== String(epoch)) return [403, 'Request has expired'];
    for (const [name, value] of Object.entries(JSON.parse(url.searchParams.get('test-headers') ?? '{}')))
      if (headers[name] !== value) return [403, 'SignatureDoesNotMatch'];
    if (request.method !== 'PUT') return undefined;
    const sha256 = headers['x-amz-content-sha256'];
    if (sha256 !== undefined && sha256 !== hash('sha256', body).toString('hex'))
      return [400, 'XAmzContentSHA256Mismatch'];
    const md5 = headers['content-md5'];
    if (md5 !== undefined && md5 !== hash('md5', body).toString('base64')) return [400, 'BadDigest'];
    const size = url.searchParams.get('test-size');
    return size !== null && Number(size) !== body.length ? [400, 'IncompleteBody'] : undefined;
  };

  const answer: Storage['answer'] = (request, response, url, body) => {
    const refused = refusal(request, url, body);
    const key = decodeURIComponent(url.pathname.slice(FOLDER.length));
    if (refused !== undefined) {
      response.writeHead(refused[0], { 'content-type': 'application/xml' });
      response.end(`<Error><Code>${refused[1]}</Code></Error>`);
    } else if (request.method === 'PUT') {
      objects.set(key, body);
      response.writeHead(200, { etag: `"${hash('md5', body).toString('hex')}"` }).end();
    } else {
      const bytes = objects.get(key);
      if (bytes === undefined) response.writeHead(404).end();
      else sendRange(request, response, bytes, { etag: `"${hash('md5', bytes).toString('hex')}"` });
    }
  };

  return {
    objects,
    sign,
    isFor: ({ pathname }) => pathname.startsWith(FOLDER),
    answer,
    expire: () => {
      epoch += 1;
    },
  };
}
