/**
 * A Singularity Registry Server in memory: its API, its uploads in two steps, its downloads without ranges that are counted, and the
 * half of the library API that reads. It checks signatures as the server does (`shub/apps/api/utils.py`), against its own clock and the
 * collection's stored name, and says no in all of the server's ways.
 *
 * Checked against the Python client, sregistry-cli 0.2.39, which pulls, pushes, searches and deletes with it.
 */
import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type FaultServer, startFaultServer } from './http-faults.ts';
import { createStorage } from './library/storage.ts';

export const REGISTRY_LOGIN = { username: 'vsoch', token: 'registry-test-token' } as const;

export interface RegistryServerOptions {
  /** Downloads allowed of a container. Default: any number. */
  readonly limit?: number;
  /** Milliseconds that the server's clock is ahead. */
  readonly skew?: number;
  /** Is the user a superuser, who may push to every collection but whose uploads are dropped in those of others? */
  readonly superuser?: boolean;
  /** Host in absolute addresses, as behind a proxy; default: that of the request. */
  readonly domain?: string;
}

export interface Container {
  readonly id: number;
  readonly collection: Collection;
  readonly name: string;
  readonly tag: string;
  readonly bytes: Buffer;
  /** As the server has it: md5 after an upload, then `sha256.<hex>`. */
  version: string;
  frozen: boolean;
  /** Downloads so far. */
  gets: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Where its bytes are: on the server's disk, or in the storage of the library API. */
  readonly place: 'disk' | 'library';
}

interface Collection {
  readonly id: number;
  readonly name: string;
  readonly secret: string;
  readonly owners: Set<string>;
  isPrivate: boolean;
}

export interface PutOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly place?: 'disk' | 'library';
  readonly isPrivate?: boolean;
}

export interface RegistryServer extends FaultServer {
  readonly containers: Container[];
  /** Stores a container as another client would; `name` is `lab/hello:1.0`. */
  put(name: string, bytes: Buffer, options?: PutOptions): Container;
  /** Makes a collection that belongs to somebody else. */
  takeOver(collection: string): void;
  /** Presigned URLs given so far have expired from now on. */
  expire(): void;
}

class Answer extends Error {
  readonly status: number;
  readonly body: unknown;
  constructor(status: number, body: unknown) {
    super(`${status}`);
    this.status = status;
    this.body = body;
  }
}

const denied = (detail: string) => new Answer(403, { detail });
const hash = (algorithm: string, bytes: Buffer) => createHash(algorithm).update(bytes).digest('hex');
const FIELDS = ['SREGISTRY_EVENT', 'collection', 'name', 'tag', 'file1'];

export async function startRegistryServer(options: RegistryServerOptions = {}): Promise<RegistryServer> {
  const { limit = Number.POSITIVE_INFINITY, skew = 0 } = options;
  const collections: Collection[] = [];
  const containers: Container[] = [];
  const storage = createStorage();
  const users: Readonly<Record<string, string>> = { [REGISTRY_LOGIN.username]: REGISTRY_LOGIN.token };
  let ids = 0;

  const format = (name: string) =>
    name
      .replaceAll(/[^0-9a-zA-Z]+/g, '-')
      .replaceAll(/^-+|-+$/g, '')
      .toLowerCase();
  const now = () => new Date(Date.now() + skew);
  const hour = () => `${now().toISOString().slice(0, 13).replaceAll('-', '')}Z`;
  const collectionOf = (name: string) => collections.find((one) => one.name === name);

  /** The user of a valid signature; undefined if it is none. */
  const userOf = (authorization: string | undefined) => {
    const [, event, user = '', time, signature] =
      /^SREGISTRY-HMAC-SHA256 Credential=([^/]*)\/([^/]*)\/([^/,]*),Signature=(.*)$/.exec(
        authorization ?? '',
      ) ?? [];
    return { event, time, signature, username: Buffer.from(user, 'base64').toString() };
  };
  const isValid = (
    request: IncomingMessage,
    event: string,
    collection: string,
    name: string,
    tag: string,
  ) => {
    const given = userOf(request.headers.authorization);
    const token = users[given.username];
    const payload = `${event}|${collection}|${hour()}|${name}|${tag}|`;
    const isTimely = given.event === event && given.time === hour();
    return (
      token !== undefined &&
      isTimely &&
      createHmac('sha256', token).update(payload).digest('hex') === given.signature
    );
  };
  const requireAuthorization = (request: IncomingMessage) => {
    if (request.headers.authorization === undefined) throw denied('Authentication Required');
    return userOf(request.headers.authorization).username;
  };

  const create = (
    collection: Collection,
    name: string,
    tag: string,
    bytes: Buffer,
    more: Partial<Container>,
  ) => {
    const index = containers.findIndex(
      (one) => one.collection === collection && one.name === name && one.tag === tag,
    );
    if (index >= 0) containers.splice(index, 1);
    const version = `sha256.${hash('sha256', bytes)}`;
    const made: Container = {
      ...{
        id: ++ids,
        collection,
        name,
        tag,
        bytes,
        version,
        frozen: false,
        gets: 0,
        labels: {},
        place: 'disk',
      },
      ...more,
    };
    containers.push(made);
    return made;
  };
  const createCollection = (name: string, owner: string): Collection => {
    const made = { id: ++ids, name, secret: randomUUID(), owners: new Set([owner]), isPrivate: false };
    collections.push(made);
    return made;
  };

  const domainOf = (host: string) => `http://${options.domain ?? host}`;
  const showContainer = (one: Container) => ({
    id: one.id,
    name: one.name,
    tag: one.tag,
    add_date: '2023-01-01T00:00:00.000000-06:00',
    metrics: {},
    version: one.version,
    frozen: one.frozen,
    metadata: {},
    collection: one.collection.name,
  });
  const showManifest = (host: string, one: Container) => ({
    ...showContainer(one),
    image: `${domainOf(host)}/containers/${one.id}/download/${one.collection.secret}`,
  });
  const uriOf = (one: Container) =>
    `${one.collection.name}/${one.name}:${one.frozen ? one.version : one.tag}`;
  const showCollection = (host: string, one: Collection) => ({
    id: one.id,
    name: one.name,
    add_date: '',
    modify_date: '',
    metadata: {},
    containers: containers
      .filter(({ collection }) => collection === one)
      .map((container) => ({
        name: container.name,
        tag: container.tag,
        uri: uriOf(container),
        detail: `${domainOf(host)}/containers/${container.id}`,
      })),
  });

  const page = (url: URL, host: string, all: readonly unknown[]) => {
    const size = Number(url.searchParams.get('limit') ?? 10);
    const offset = Number(url.searchParams.get('offset') ?? 0);
    const next = new URL(url.pathname, domainOf(host));
    next.search = `?limit=${size}&offset=${offset + size}`;
    return {
      count: all.length,
      next: offset + size < all.length ? next.href : null,
      previous: null,
      results: all.slice(offset, offset + size),
    };
  };

  const find = (collection: string, name: string, tag: string) =>
    containers.find((one) => one.collection.name === collection && one.name === name && one.tag === tag);

  const container = (request: IncomingMessage, rest: string): unknown => {
    const [, folder = '', name = '', tag = 'latest', version] =
      /^([^/]+)\/([^:@]+?)(?::([^@]+?))?(?:@(.+?))?\/?$/.exec(rest) ?? [];
    const found = find(folder, name, tag);
    if (found === undefined) throw new Answer(404, { detail: 'Not found.' });
    const { collection } = found;
    if (request.method === 'DELETE') {
      if (version !== undefined && version !== found.version)
        throw new Answer(404, { detail: 'Container Not Found' });
      if (found.frozen) throw denied(`${folder}/${name}:${tag} is frozen, delete not allowed.`);
      if (!isValid(request, 'delete', collection.name, name, tag)) throw denied('Unauthorized');
      containers.splice(containers.indexOf(found), 1);
      throw new Answer(204, undefined);
    }
    if (found.gets >= limit) return 429;
    if (collection.isPrivate) {
      const user = requireAuthorization(request);
      if (!collection.owners.has(user)) throw denied('Unauthorized');
      if (!isValid(request, 'pull', collection.name, name, tag)) return 400;
    }
    return showManifest(request.headers.host ?? '', found);
  };

  const search = (rest: string) => {
    const [, collection, name = '', tag] =
      /^(?:collection\/(.+?)\/)?name\/(.+?)(?:\/tag\/(.+?))?\/?$/.exec(rest) ?? [];
    return containers
      .filter((one) => one.name === name.toLowerCase())
      .filter((one) => collection === undefined || one.collection.name === collection.toLowerCase())
      .filter((one) => tag === undefined || one.tag === tag.toLowerCase())
      .map(showContainer);
  };

  const labels = (rest: string) => {
    const [, key, value] = /^(.+?)\/key\/(.+?)\/value\/?$/.exec(rest) ?? [];
    const [, onlyKey] = /^([^/]+)\/key\/?$/.exec(rest) ?? [];
    const [, onlyValue] = /^([^/]+)\/value\/?$/.exec(rest) ?? [];
    const all = new Map<string, { key: string; value: string; containers: string[] }>();
    for (const one of containers)
      for (const [label, text] of Object.entries(one.labels)) {
        const entry = all.get(`${label} ${text}`) ?? { key: label, value: text, containers: [] };
        entry.containers.push(uriOf(one));
        all.set(`${label} ${text}`, entry);
      }
    const isWanted = (label: string, text: string) =>
      label === (key ?? onlyKey ?? label) && text === (value ?? onlyValue ?? text);
    return [...all.values()].filter((one) => isWanted(one.key, one.value));
  };

  const openUpload = (request: IncomingMessage, text: string) => {
    const { collection: asked = '', name = '', tag = 'latest' } = JSON.parse(text) as Record<string, string>;
    const folder = format(asked);
    const user = requireAuthorization(request);
    if (!isValid(request, 'push', folder, name, tag)) throw denied('Unauthorized');
    const known = collectionOf(folder);
    if (known !== undefined && !known.owners.has(user) && !options.superuser) throw denied('Unauthorized');
    return { cid: (known ?? createCollection(folder, user)).id };
  };

  const upload = async (request: IncomingMessage, body: Buffer) => {
    // nginx's upload module.
    if (request.headers['content-length'] === undefined) throw new Answer(411, 'Length Required');
    const type = request.headers['content-type'] ?? '';
    const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData();
    const fields = [...form.keys()];
    if (fields.some((field) => !FIELDS.includes(field))) throw new Answer(400, `unknown fields ${fields}`);
    const user = requireAuthorization(request);
    const [cid, name, tag, file] = ['collection', 'name', 'tag', 'file1'].map((field) => form.get(field));
    const collection = collections.find(({ id }) => String(id) === cid);
    if (collection === undefined) throw denied('Authentication Required');
    if (!isValid(request, 'upload', collection.name, String(name), String(tag))) throw denied('Unauthorized');
    if (!(file instanceof File)) throw new Answer(400, 'no file');
    // Others' uploads are dropped without a word.
    if (!collection.owners.has(user)) return { message: 'Upload Complete' };
    const bytes = Buffer.from(await file.arrayBuffer());
    const [image, label] = [String(name).toLowerCase(), String(tag).toLowerCase()];
    const present = find(collection.name, image, label);
    if (present?.frozen) return { message: `${collection.name}/${image}:${label} already exists.` };
    const made = create(collection, image, label, bytes, { version: hash('md5', bytes) });
    // The job that computes the version.
    setTimeout(() => {
      made.version = `sha256.${hash('sha256', bytes)}`;
    }, 50).unref();
    return { message: 'Upload Complete' };
  };

  const download = (response: ServerResponse, id: string, secret: string) => {
    const found = containers.find((one) => String(one.id) === id);
    if (found === undefined || found.collection.secret !== secret) throw new Answer(404, 'Not Found');
    if (found.place === 'library') throw new Answer(500, 'no response');
    if (found.gets >= limit) throw new Answer(403, '');
    found.gets += 1;
    // Whatever range was asked for.
    response.writeHead(200, { 'content-type': 'application/img', 'content-length': found.bytes.length });
    response.end(found.bytes);
  };

  const imageFile = (request: IncomingMessage, response: ServerResponse, rest: string) => {
    const [, folder = '', name = '', tag = 'latest'] =
      /^(?:[^/]+\/)?([^/]+)\/([^/:]+)(?::(.+))?$/.exec(rest) ?? [];
    const found = find(folder, name, tag);
    const isOwner = request.headers.authorization === `Bearer ${REGISTRY_LOGIN.token}`;
    if (found === undefined || (found.collection.isPrivate && !isOwner)) throw new Answer(404, {});
    const key = found.place === 'library' ? `image ${found.id}` : `missing ${found.id}`;
    response.writeHead(302, { location: storage.sign(request.headers.host ?? '', 'GET', key) }).end();
  };

  const route = async (request: IncomingMessage, url: URL, body: Buffer): Promise<unknown> => {
    const host = request.headers.host ?? '';
    const path = decodeURIComponent(url.pathname);
    const [, kind = '', rest = ''] = /^\/api\/([a-z]+)(?:\/(.*))?$/.exec(path) ?? [];
    if (request.method === 'POST' && path === '/upload') return upload(request, body);
    if (request.method === 'POST' && /^\/api\/upload\/chunked_upload\/?$/.test(path))
      return openUpload(request, body.toString());
    if (request.method !== 'GET' && !(request.method === 'DELETE' && kind === 'container'))
      throw new Answer(405, {});
    if (path === '/v1/') return { version: 'v1.0.0', apiVersion: '2.0.0-alpha.1', user: null };
    if (path === '/v1/token-status') {
      if (request.headers.authorization === `Bearer ${REGISTRY_LOGIN.token}`) return undefined;
      throw new Answer(404, undefined);
    }
    if (path === '/api/registry/identity') return { name: 'Tacosaurus', id: 'taco', url: domainOf(host) };
    if (kind === 'container' && rest.startsWith('search/')) return search(rest.slice('search/'.length));
    if (kind === 'container') return container(request, rest);
    const open = collections.filter(({ isPrivate }) => !isPrivate);
    if (kind === 'collections')
      return page(
        url,
        host,
        open.map((one) => showCollection(host, one)),
      );
    if (kind === 'containers')
      return page(url, host, containers.filter((one) => !one.collection.isPrivate).map(showContainer));
    if (kind === 'labels' && rest.startsWith('search')) return labels(rest.replace(/^search\/?/, ''));
    if (kind !== 'collection') throw new Answer(404, { detail: 'Not found.' });
    const known = collectionOf(rest.replace(/\/$/, '').toLowerCase());
    if (known?.isPrivate) throw new Answer(500, 'the view returned None');
    return known === undefined ? {} : showCollection(host, known);
  };

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await buffer(request);
    const url = new URL(request.url ?? '', `http://${request.headers.host}`);
    response.setHeader('date', now().toUTCString());
    try {
      const [, id = '', secret = ''] = /^\/containers\/(\d+)\/download\/([^/]+)$/.exec(url.pathname) ?? [];
      if (storage.isFor(url)) storage.answer(request, response, url, body);
      else if (id !== '') download(response, id, secret);
      else if (url.pathname.startsWith('/v1/imagefile/'))
        imageFile(request, response, decodeURIComponent(url.pathname.slice('/v1/imagefile/'.length)));
      else send(response, 200, await route(request, url, body));
    } catch (error) {
      if (error instanceof Answer) send(response, error.status, error.body);
      else send(response, 500, { detail: String(error) });
    }
  };

  const server = await startFaultServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  return {
    ...server,
    containers,
    put: (name, bytes, { labels = {}, place = 'disk', isPrivate } = {}) => {
      const [, folder = '', image = '', tag = 'latest'] = /^([^/]+)\/([^:]+)(?::(.+))?$/.exec(name) ?? [];
      const collection = collectionOf(folder) ?? createCollection(folder, REGISTRY_LOGIN.username);
      if (isPrivate !== undefined) collection.isPrivate = isPrivate;
      const made = create(collection, image, tag, bytes, { labels, place });
      if (place === 'library') storage.objects.set(`image ${made.id}`, bytes);
      return made;
    },
    takeOver: (name) => {
      const collection = collectionOf(name) ?? createCollection(name, '');
      collection.owners.clear();
    },
    expire: storage.expire,
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (body === undefined) response.writeHead(status).end();
  else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
