/**
 * Cloud Storage in memory: the part of its JSON API that clients of one bucket use, after its public reference (the folder gcs
 * beside this file), with access lists, a policy, and links to images. It also plays the token service of a workload
 * identity, if it is to ask for tokens.
 *
 * Checked against rclone's backend for Cloud Storage: `node test/servers/check-fakes.ts`.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { etagOf, type FakeObject, FakeObjects } from './gcs/objects.ts';
import { invalid, notFound, parseResource, Refusal, send, unmet } from './gcs/refusal.ts';
import { startGoogleServer } from './gcs/server.ts';
import { checkSignature } from './gcs/signature.ts';
import { type FakeSession, FakeUploads } from './gcs/uploads.ts';
import { type FaultServer, sendRange } from './http-faults.ts';

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

export interface FakeGcs extends FaultServer {
  readonly bucket: string;
  /** Live objects by name. */
  readonly objects: Map<string, FakeObject>;
  /** Open sessions, by id. */
  readonly sessions: Map<string, FakeSession>;
  readonly policy: { bindings: unknown[] };
  /** Stores an object as another client would. */
  put(
    name: string,
    bytes: Buffer,
    metadata?: Record<string, string>,
    more?: Record<string, unknown>,
  ): FakeObject;
}

export async function startFakeGcs(options: FakeGcsOptions = {}): Promise<FakeGcs> {
  const { bucket = 'images' } = options;
  const objects = new FakeObjects(bucket, options);
  const uploads = new FakeUploads(objects);
  const policy = { bindings: [] as unknown[] };
  const tokens = new Set<string>();

  const issueToken = (response: ServerResponse) => {
    const token = `ya29.${randomUUID()}`;
    tokens.add(`Bearer ${token}`);
    const issued = 'urn:ietf:params:oauth:token-type:access_token';
    send(response, {
      access_token: token,
      issued_token_type: issued,
      token_type: 'Bearer',
      expires_in: 3600,
    });
  };

  const authorize = (request: IncomingMessage, query: URLSearchParams) => {
    if (options.tokens && !tokens.has(request.headers.authorization ?? ''))
      throw new Refusal(401, 'authError', 'Invalid Credentials');
    if (options.requesterPays !== undefined && query.get('userProject') !== options.requesterPays)
      throw new Refusal(400, 'required', 'Bucket is a requester pays bucket but no user project provided.');
  };

  const handle = async (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> => {
    const { searchParams: query } = url;
    const [, kind = '', inBucket, rest = ''] =
      /^\/(upload\/|download\/)?storage\/v1\/b\/([^/]+)(\/.*)?$/.exec(url.pathname) ?? [];
    if (inBucket === undefined) return handleLink(request, response, url);
    if (decodeURIComponent(inBucket) !== bucket) throw notFound('The specified bucket does not exist.');
    authorize(request, query);
    if (kind === 'upload/') return uploads.handle(request, response, url);
    const [what, name, ...act] = rest.split('/').slice(1).map(decodeURIComponent);
    if (what === undefined) return send(response, { kind: 'storage#bucket', name: bucket, location: 'EU' });
    if (what === 'iam') return handlePolicy(request, response);
    if (what !== 'o') throw notFound('Not Found');
    if (name === undefined) return send(response, objects.list(query, url.origin));
    if (act.length > 0) return handleAct(request, response, { url, name, act });
    const isMedia = query.get('alt') === 'media' || kind === 'download/';
    if (isMedia) return sendMedia(request, response, objects.find(name, query));
    return handleObject(request, response, { url, name });
  };

  const handleObject = async (
    request: IncomingMessage,
    response: ServerResponse,
    { url, name }: { url: URL; name: string },
  ) => {
    const object = objects.find(name, url.searchParams);
    if (request.method === 'DELETE') {
      objects.retire(name);
      response.writeHead(204).end();
      return;
    }
    if (request.method === 'PATCH') {
      const resource = { ...object.resource, ...parseResource(await buffer(request)) };
      objects.live.set(name, { ...object, resource });
    }
    send(response, objects.describe(name, objects.find(name, url.searchParams), url.origin));
  };

  const handleAct = async (
    request: IncomingMessage,
    response: ServerResponse,
    { url, name, act }: { url: URL; name: string; act: string[] },
  ) => {
    const resource = parseResource(await buffer(request));
    if (act[0] === 'rewriteTo') {
      const copy = { from: name, to: act[4] ?? '', resource };
      return send(response, objects.rewrite(copy, url.searchParams, url.origin));
    }
    if (act[0] !== 'acl') throw notFound('Not Found');
    if (options.uniform)
      throw invalid(
        'Cannot use ACL API to update bucket policy when uniform bucket-level access is enabled.',
      );
    objects.find(name, url.searchParams).acl.push(String(resource.entity));
    send(response, { kind: 'storage#objectAccessControl', ...resource });
  };

  const handlePolicy = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === 'PUT')
      policy.bindings = parseResource(await buffer(request)).bindings as unknown[];
    send(response, { kind: 'storage#policy', version: 3, etag: 'CAE=', ...policy });
  };

  /** The XML API, as far as links lead to it: public objects, and signed addresses. */
  const handleLink = (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const [, inBucket, ...path] = url.pathname.split('/').map(decodeURIComponent);
    const object = inBucket === bucket ? objects.live.get(path.join('/')) : undefined;
    if (object === undefined) throw notFound('NoSuchKey');
    if (!object.acl.includes('allUsers')) checkSignature(url, options.keys ?? {});
    sendMedia(request, response, object);
  };

  const server = await startGoogleServer({ fault: options.fault, issueToken, handle });

  return {
    ...server,
    bucket,
    objects: objects.live,
    sessions: uploads.sessions,
    policy,
    put: (name, bytes, metadata, more = {}) =>
      objects.store({ ...more, name, ...(metadata && { metadata }) }, bytes),
  };
}

function sendMedia(request: IncomingMessage, response: ServerResponse, object: FakeObject): void {
  const { generation, hashes, resource, bytes } = object;
  const wanted = request.headers['if-match'];
  if (wanted !== undefined && wanted !== etagOf(object)) throw unmet();
  const { contentType = 'application/octet-stream', contentEncoding } = resource;
  response.setHeader('content-type', String(contentType));
  if (contentEncoding !== undefined) response.setHeader('content-encoding', String(contentEncoding));
  response.setHeader('x-goog-generation', generation);
  response.setHeader('x-goog-hash', `crc32c=${hashes.crc32c},md5=${hashes.md5Hash}`);
  sendRange(request, response, bytes, { etag: etagOf(object) });
}
