/**
 * Cloud Storage in memory: the part of its JSON API that clients of one bucket use, after its public reference: objects with
 * generations and preconditions, listings in pages, the three kinds of upload, resumable ones with all that is odd about
 * them, rewrites in several steps, access lists and policies, signed addresses whose signatures are checked. It also plays
 * the token service of a workload identity, if it is to ask for tokens.
 *
 * Checked against rclone's backend for Cloud Storage: `node test/servers/check-fakes.ts`.
 */
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';

export interface FakeGcsOptions {
  /** Default `images`. */
  readonly bucket?: string;
  /** Requests need a token, which `POST /v1/token` gives to everybody. */
  readonly tokens?: boolean;
  /** Most entries on a page. Default 1000. */
  readonly pageSize?: number;
  /** Bytes that one request of a rewrite copies. Default: all. */
  readonly rewriteStep?: number;
  /** Does the bucket keep generations that are no longer live? */
  readonly versioned?: boolean;
  /** Has the bucket one policy instead of access lists of objects? */
  readonly uniform?: boolean;
  /** Project that requests have to name. */
  readonly requesterPays?: string;
  /** May objects not be listed? */
  readonly hidden?: boolean;
  /** Are hashes that come with an object not compared with its bytes, as Firebase's emulator does it? */
  readonly careless?: boolean;
  /** Public keys of service accounts, in PEM, by their email. */
  readonly keys?: Readonly<Record<string, string>>;
  /** Sees every request first and may change it; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
}

export interface FakeObject {
  readonly bytes: Buffer;
  readonly hashes: { readonly md5Hash: string; readonly crc32c: string };
  readonly generation: string;
  readonly created: Date;
  readonly resource: Readonly<Record<string, unknown>>;
  readonly acl: string[];
}

export interface FakeGcs extends FaultServer {
  readonly bucket: string;
  /** Live objects by name. */
  readonly objects: Map<string, FakeObject>;
  /** Bytes of open sessions, by id. */
  readonly sessions: Map<string, { readonly resource: Record<string, unknown>; bytes: Buffer }>;
  readonly policy: { bindings: unknown[] };
  /** Stores an object as another client would. */
  put(
    name: string,
    bytes: Buffer,
    metadata?: Record<string, string>,
    more?: Record<string, unknown>,
  ): FakeObject;
  /** Tokens given so far are no longer accepted. */
  expireTokens(): void;
}

/** Bytes of which an unfinished chunk must be a multiple. */
const GRANULE = 256 * 1024;
const METADATA_MAX = 8192;

class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const notFound = (what: string) => new Refusal(404, 'notFound', what);
const invalid = (what: string) => new Refusal(400, 'invalid', what);

export async function startFakeGcs(options: FakeGcsOptions = {}): Promise<FakeGcs> {
  const { bucket = 'images' } = options;
  const objects: FakeGcs['objects'] = new Map();
  const former = new Map<string, FakeObject>();
  const sessions: FakeGcs['sessions'] = new Map();
  /** What sessions have become, for those who did not hear the last answer. */
  const completed = new Map<string, unknown>();
  const policy = { bindings: [] as unknown[] };
  const rewrites = new Map<string, number>();
  let generation = 1_700_000_000_000_000n;
  let tokens = new Set<string>();

  const store = (
    resource: Record<string, unknown>,
    bytes: Buffer,
    query = new URLSearchParams(),
  ): FakeObject => {
    const { name } = resource;
    if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > 1024)
      throw invalid('Invalid name');
    checkPreconditions(objects.get(name), query);
    const acl = query.get('predefinedAcl') ?? query.get('destinationPredefinedAcl');
    if (acl !== null && options.uniform)
      throw invalid('Cannot insert legacy ACL for an object when uniform bucket-level access is enabled.');
    checkMetadata(resource.metadata);
    const hashes = { md5Hash: md5(bytes), crc32c: crc32c(bytes) };
    for (const [field, actual] of Object.entries(hashes)) {
      const stated = resource[field];
      if (stated !== undefined && stated !== actual && !options.careless)
        throw invalid(`Provided ${field} "${stated}" doesn't match calculated hash "${actual}".`);
    }
    retire(name);
    generation += 1_000n;
    const { name: _name, md5Hash: _md5, crc32c: _crc, ...kept } = resource;
    const object = {
      bytes,
      hashes,
      generation: String(generation),
      created: new Date(Number(generation / 1000n)),
      resource: kept,
      acl: acl === 'publicRead' ? ['allUsers'] : [],
    };
    objects.set(name, object);
    return object;
  };

  const retire = (name: string) => {
    const live = objects.get(name);
    if (live !== undefined && options.versioned) former.set(`${name}#${live.generation}`, live);
    objects.delete(name);
  };

  const find = (name: string, query: URLSearchParams, parameter = 'generation'): FakeObject => {
    const wanted = query.get(parameter);
    const live = objects.get(name);
    const found = wanted === null || live?.generation === wanted ? live : former.get(`${name}#${wanted}`);
    if (found === undefined) throw notFound(`No such object: ${bucket}/${name}`);
    checkPreconditions(found, query);
    return found;
  };

  const describe = (
    name: string,
    { bytes, hashes, generation: number, created, resource }: FakeObject,
    origin: string,
  ) => ({
    kind: 'storage#object',
    id: `${bucket}/${name}/${number}`,
    selfLink: `${origin}/storage/v1/b/${bucket}/o/${encodeURIComponent(name)}`,
    mediaLink: `${origin}/download/storage/v1/b/${bucket}/o/${encodeURIComponent(name)}?generation=${number}&alt=media`,
    contentType: 'application/octet-stream',
    ...resource,
    name,
    bucket,
    generation: number,
    metageneration: '1',
    storageClass: 'STANDARD',
    size: String(bytes.length),
    ...hashes,
    etag: etagOf(number),
    timeCreated: created.toISOString(),
    updated: created.toISOString(),
  });

  const list = (query: URLSearchParams, origin: string) => {
    if (options.hidden)
      throw new Refusal(
        403,
        'forbidden',
        'Anonymous caller does not have storage.objects.list access to the bucket.',
      );
    const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter') ?? ''];
    const folded = new Map<string, FakeObject | undefined>();
    for (const name of [...objects.keys()].filter((key) => key.startsWith(prefix)).sort()) {
      const end = delimiter === '' ? -1 : name.indexOf(delimiter, prefix.length);
      folded.set(
        end < 0 ? name : name.slice(0, end + delimiter.length),
        end < 0 ? objects.get(name) : undefined,
      );
    }
    const after = Buffer.from(query.get('pageToken') ?? '', 'base64url').toString();
    const entries = [...folded].filter(([name]) => name > after);
    const size = Math.min(Number(query.get('maxResults') ?? 1000), options.pageSize ?? 1000);
    const page = entries.slice(0, size);
    const last = page.at(-1)?.[0];
    return {
      kind: 'storage#objects',
      ...(entries.length > size &&
        last !== undefined && { nextPageToken: Buffer.from(last).toString('base64url') }),
      ...(page.some(([, object]) => !object) && {
        prefixes: page.filter(([, object]) => !object).map(([name]) => name),
      }),
      ...(page.some(([, object]) => object) && {
        items: page.flatMap(([name, object]) => (object ? [describe(name, object, origin)] : [])),
      }),
    };
  };

  const media = (request: IncomingMessage, response: ServerResponse, object: FakeObject) => {
    const wanted = request.headers['if-match'];
    if (wanted !== undefined && wanted !== etagOf(object.generation))
      throw new Refusal(
        412,
        'conditionNotMet',
        'At least one of the pre-conditions you specified did not hold.',
      );
    const { contentType = 'application/octet-stream', contentEncoding } = object.resource;
    response.setHeader('content-type', String(contentType));
    if (contentEncoding !== undefined) response.setHeader('content-encoding', String(contentEncoding));
    response.setHeader('x-goog-generation', object.generation);
    response.setHeader('x-goog-hash', `crc32c=${object.hashes.crc32c},md5=${object.hashes.md5Hash}`);
    sendRange(request, response, object.bytes, { etag: etagOf(object.generation) });
  };

  const rewrite = (from: string, to: string, query: URLSearchParams, resource: object, origin: string) => {
    const source = find(from, query, 'sourceGeneration');
    const token = query.get('rewriteToken');
    if (token !== null && !rewrites.has(token)) throw invalid('Invalid rewrite token.');
    const done = Math.min(
      source.bytes.length,
      (rewrites.get(token ?? '') ?? 0) + (options.rewriteStep ?? Infinity),
    );
    const answer = {
      kind: 'storage#rewriteResponse',
      totalBytesRewritten: String(done),
      objectSize: String(source.bytes.length),
    };
    if (done < source.bytes.length) {
      const next = randomUUID();
      rewrites.set(next, done);
      return { ...answer, done: false, rewriteToken: next };
    }
    // A resource in the request replaces all metadata of the original.
    const metadata = Object.keys(resource).length > 0 ? resource : source.resource;
    const copy = store({ ...metadata, name: to }, source.bytes, query);
    return { ...answer, done: true, resource: describe(to, copy, origin) };
  };

  const upload = async (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const { searchParams: query } = url;
    const type = query.get('uploadType');
    const id = query.get('upload_id');
    if (id !== null) return feed(request, response, url, id);
    if (type === 'resumable') {
      const resource = parseResource(await buffer(request));
      const name = query.get('name') ?? resource.name;
      checkMetadata(resource.metadata);
      if (query.get('predefinedAcl') !== null && options.uniform)
        throw invalid('Cannot insert legacy ACL for an object when uniform bucket-level access is enabled.');
      const session = randomUUID();
      const contentType = request.headers['x-upload-content-type'];
      sessions.set(session, {
        resource: { ...(contentType && { contentType }), ...resource, name },
        bytes: Buffer.alloc(0),
      });
      url.searchParams.set('upload_id', session);
      response.writeHead(200, { location: url.href, 'content-length': 0 }).end();
      return;
    }
    const body = await buffer(request);
    const { resource, bytes } =
      type === 'multipart'
        ? parseMultipart(request.headers['content-type'] ?? '', body)
        : { resource: { contentType: request.headers['content-type'] }, bytes: body };
    const name = String(query.get('name') ?? (resource as { name?: unknown }).name ?? '');
    send(response, describe(name, store({ ...resource, name }, bytes, query), url.origin));
  };

  /** A PUT to a session: a chunk, or with `bytes *​/N` the question how much is there. */
  const feed = async (request: IncomingMessage, response: ServerResponse, url: URL, id: string) => {
    if (completed.has(id)) return send(response, completed.get(id));
    const session = sessions.get(id);
    if (session === undefined) throw notFound('The upload session has expired or does not exist.');
    if (request.method === 'DELETE') {
      sessions.delete(id);
      response.writeHead(499).end();
      return;
    }
    const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(request.headers['content-range'] ?? '');
    const start = range?.[1] === undefined ? session.bytes.length : Number(range[1]);
    const before = session.bytes;
    if (start > before.length)
      throw invalid('Invalid request. The content does not begin where the upload ends.');
    const chunks = [before.subarray(0, start)];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch (error) {
      // Of a chunk that breaks off whole granules are kept.
      const part = Buffer.concat(chunks);
      session.bytes = part.subarray(0, Math.max(before.length, part.length - (part.length % GRANULE)));
      throw error;
    }
    const arrived = Buffer.concat(chunks);
    const total = range === null ? arrived.length : range[3] === '*' ? undefined : Number(range[3]);
    const isLast = total !== undefined && arrived.length >= total;
    if (!isLast && arrived.length > before.length && (arrived.length - start) % GRANULE !== 0)
      throw invalid(
        `Invalid request. The number of bytes uploaded is required to be equal or greater than ${GRANULE}, except for the final request.`,
      );
    session.bytes = arrived.length > before.length ? arrived : before;
    if (isLast) {
      sessions.delete(id);
      const object = store(session.resource, session.bytes, url.searchParams);
      completed.set(id, describe(String(session.resource.name), object, url.origin));
      send(response, completed.get(id));
      return;
    }
    // Go's HTTP client takes every 308 for a redirect; Google's libraries for Go say so with this header.
    const isGo = request.headers['x-guploader-no-308'] === 'yes';
    response.writeHead(isGo ? 200 : 308, {
      ...(isGo && { 'x-http-status-code-override': '308' }),
      ...(session.bytes.length > 0 && { range: `bytes=0-${session.bytes.length - 1}` }),
      'content-length': 0,
    });
    response.end();
  };

  const handle = async (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> => {
    const { searchParams: query } = url;
    const [, kind = '', inBucket = '', rest = ''] =
      /^\/(upload\/|download\/)?storage\/v1\/b\/([^/]+)(\/.*)?$/.exec(url.pathname) ?? [];
    if (inBucket === '') return signed(request, response, url);
    if (decodeURIComponent(inBucket) !== bucket) throw notFound('The specified bucket does not exist.');
    authorize(request, query);
    if (kind === 'upload/') return upload(request, response, url);
    const parts = rest.split('/').slice(1).map(decodeURIComponent);
    const [what, name, act, ...target] = parts;
    if (what === undefined) return send(response, { kind: 'storage#bucket', name: bucket, location: 'EU' });
    if (what === 'iam') return setPolicy(request, response);
    if (what !== 'o') throw notFound('Not Found');
    if (name === undefined) return send(response, list(query, url.origin));
    if (act === 'rewriteTo' || act === 'copyTo') {
      const resource = parseResource(await buffer(request));
      const answer = rewrite(name, target[3] ?? '', query, resource, url.origin);
      return send(response, act === 'copyTo' ? (answer as { resource?: unknown }).resource : answer);
    }
    const object = find(name, query);
    if (act === 'acl') {
      if (options.uniform)
        throw invalid(
          'Cannot use ACL API to update bucket policy when uniform bucket-level access is enabled.',
        );
      const { entity, role } = parseResource(await buffer(request));
      object.acl.push(String(entity));
      return send(response, { kind: 'storage#objectAccessControl', entity, role });
    }
    if (request.method === 'DELETE') {
      retire(name);
      response.writeHead(204).end();
      return;
    }
    if (request.method === 'PATCH') {
      const changed = {
        ...object,
        resource: { ...object.resource, ...parseResource(await buffer(request)) },
      };
      objects.set(name, changed);
      return send(response, describe(name, changed, url.origin));
    }
    if (query.get('alt') === 'media' || kind === 'download/') return media(request, response, object);
    send(response, describe(name, object, url.origin));
  };

  const authorize = (request: IncomingMessage, query: URLSearchParams) => {
    if (options.tokens && !tokens.has(request.headers.authorization ?? ''))
      throw new Refusal(401, 'authError', 'Invalid Credentials');
    if (options.requesterPays !== undefined && query.get('userProject') !== options.requesterPays)
      throw new Refusal(400, 'required', 'Bucket is a requester pays bucket but no user project provided.');
  };

  const setPolicy = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === 'PUT')
      policy.bindings = parseResource(await buffer(request)).bindings as unknown[];
    send(response, { kind: 'storage#policy', version: 3, etag: 'CAE=', ...policy });
  };

  /** The XML API, as far as links lead to it: public objects, and signatures of version 4. */
  const signed = (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const [, inBucket, ...path] = url.pathname.split('/').map(decodeURIComponent);
    const object = inBucket === bucket ? objects.get(path.join('/')) : undefined;
    if (object === undefined) throw notFound('NoSuchKey');
    if (!object.acl.includes('allUsers')) checkSignature(url, options.keys ?? {});
    media(request, response, object);
  };

  const server: FaultServer = await startFaultServer((request, response) => {
    request.on('error', () => {});
    if (options.fault?.(request, response)) return;
    const url = new URL(request.url ?? '', `http://${request.headers.host}`);
    if (url.pathname === '/v1/token') {
      const token = `ya29.${randomUUID()}`;
      tokens.add(`Bearer ${token}`);
      request.resume();
      const issued = 'urn:ietf:params:oauth:token-type:access_token';
      return send(response, {
        access_token: token,
        issued_token_type: issued,
        token_type: 'Bearer',
        expires_in: 3600,
      });
    }
    handle(request, response, url).catch((error: unknown) => {
      if (response.headersSent || response.destroyed || !(error instanceof Refusal))
        return void response.destroy();
      request.resume();
      refuse(response, error);
    });
  });

  return {
    ...server,
    bucket,
    objects,
    sessions,
    policy,
    put: (name, bytes, metadata, more = {}) => store({ ...more, name, ...(metadata && { metadata }) }, bytes),
    expireTokens: () => {
      tokens = new Set();
    },
  };
}

function checkPreconditions(object: FakeObject | undefined, query: URLSearchParams): void {
  const current = object?.generation ?? '0';
  const wanted = query.get('ifGenerationMatch');
  const unwanted = query.get('ifGenerationNotMatch');
  if ((wanted !== null && wanted !== current) || unwanted === current)
    throw new Refusal(
      412,
      'conditionNotMet',
      'At least one of the pre-conditions you specified did not hold.',
    );
}

function checkMetadata(metadata: unknown): void {
  const entries = Object.entries((metadata ?? {}) as Record<string, unknown>);
  const size = entries.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(value)),
    0,
  );
  if (size > METADATA_MAX) throw invalid(`Metadata is larger than ${METADATA_MAX} bytes`);
}

function checkSignature(url: URL, keys: Readonly<Record<string, string>>): void {
  const forbidden = new Refusal(403, 'forbidden', 'SignatureDoesNotMatch');
  const signature = url.searchParams.get('X-Goog-Signature');
  const [email = '', ...scope] = (url.searchParams.get('X-Goog-Credential') ?? '').split('/');
  const time = url.searchParams.get('X-Goog-Date') ?? '';
  const key = keys[email];
  if (signature === null || key === undefined) throw forbidden;
  const query = url.search
    .slice(1)
    .split('&')
    .filter((part) => !part.startsWith('X-Goog-Signature='))
    .sort()
    .join('&');
  const canonical = ['GET', url.pathname, query, `host:${url.host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join(
    '\n',
  );
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['GOOG4-RSA-SHA256', time, scope.join('/'), hash].join('\n');
  if (!verify('RSA-SHA256', Buffer.from(text), createPublicKey(key), Buffer.from(signature, 'hex')))
    throw forbidden;
  const start = Date.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (Date.now() > start + Number(url.searchParams.get('X-Goog-Expires')) * 1000)
    throw new Refusal(400, 'expired', 'ExpiredToken');
}

function parseResource(bytes: Buffer): Record<string, unknown> {
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(bytes.toString()) ?? {};
  } catch {
    throw new Refusal(400, 'parseError', 'Parse Error');
  }
}

/** `multipart/related` (RFC 2387): the resource, then the content. */
function parseMultipart(type: string, body: Buffer): { resource: Record<string, unknown>; bytes: Buffer } {
  const boundary = /boundary="?([^";]+)"?/.exec(type)?.[1];
  if (boundary === undefined) throw invalid('No boundary');
  const parts: Buffer[] = [];
  const mark = Buffer.from(`--${boundary}`);
  for (let at = body.indexOf(mark); at >= 0; ) {
    const next = body.indexOf(Buffer.from(`\r\n--${boundary}`), at + mark.length);
    if (next < 0) break;
    const part = body.subarray(at + mark.length, next);
    parts.push(part.subarray(part.indexOf('\r\n\r\n') + 4));
    at = next + 2;
  }
  const [head, bytes] = parts;
  if (head === undefined || bytes === undefined) throw invalid('Malformed multipart body');
  return { resource: parseResource(head), bytes };
}

function send(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=UTF-8' }).end(JSON.stringify(value));
}

/** "HTTP status and error codes for JSON", Cloud Storage. */
function refuse(response: ServerResponse, { status: code, reason, message }: Refusal): void {
  const errors = [{ message, domain: 'global', reason }];
  response.writeHead(code, { 'content-type': 'application/json; charset=UTF-8' });
  response.end(JSON.stringify({ error: { code, message, errors } }));
}

const etagOf = (generation: string) => `C${Buffer.from(generation).toString('base64url')}=`;

export const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('base64');

/** CRC32C (RFC 3720, appendix B.4), big-endian, as Cloud Storage states it. */
export function crc32c(bytes: Buffer): string {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] as number);
  const out = Buffer.alloc(4);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0);
  return out.toString('base64');
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});
