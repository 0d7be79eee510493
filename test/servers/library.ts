/**
 * A library in memory: entities, collections, containers, images by hash, tags by architecture, and its object storage
 * (library/storage.ts). It refuses what is malformed, writes without the token, and tags of images without bytes.
 *
 * Checked against Apptainer 1.4, which pushes to it and pulls from it in library.test.ts.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';
import { createStorage } from './library/storage.ts';

/** Apptainer takes a token for one from 200 characters on. */
export const LIBRARY_TOKEN = `library-test-token-${'x'.repeat(200)}`;

export interface FakeLibraryOptions {
  /** Bytes of a part; 0 for a library that takes no uploads in parts. Default 8 MiB. */
  readonly partSize?: number;
  /** `redirect` (default): files are at presigned URLs, as in Sylabs cloud. `own`: the library sends them itself, as Hinkskalle. */
  readonly files?: 'redirect' | 'own';
  /** Does the storage compare the sha256 of uploads? Default true. */
  readonly checks?: boolean;
  /** Version of the API; default `2.0.0-alpha.2`, the first with tags by architecture. */
  readonly version?: string;
  /** How children are listed: by `path`, as Hinkskalle does (default), or `id`. */
  readonly listing?: 'path' | 'id';
}

export interface FakeLibrary extends FaultServer {
  /** Presigned URLs given so far have expired from now on. */
  expire(): void;
  /** Hashes of images without bytes. */
  pending(): string[];
  /** Changes what the library says of each image. */
  describe(change: (image: Record<string, unknown>) => Record<string, unknown>): void;
}

interface Node {
  readonly id: string;
  readonly name: string;
  readonly parent: Node | undefined;
}

interface Image {
  readonly id: string;
  readonly hash: string;
  readonly container: Node;
  readonly createdAt: string;
  arch: string | undefined;
  bytes: Buffer | undefined;
}

interface Upload {
  readonly image: Image;
  readonly size: number;
  readonly parts: number;
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const PART = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/;
const HASH = /^sha256\.[0-9a-f]{64}$/;
const KINDS = ['entities', 'collections', 'containers'] as const;
type Kind = (typeof KINDS)[number];
const PARENT = { entities: undefined, collections: 'entity', containers: 'collection' } as const;

const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex');
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const pathOf = (node: Node | undefined): string =>
  node === undefined ? '' : [pathOf(node.parent), node.name].filter(Boolean).join('/');

export async function startFakeLibrary(options: FakeLibraryOptions = {}): Promise<FakeLibrary> {
  const {
    partSize = 8 * 1024 * 1024,
    files = 'redirect',
    checks = true,
    version = '2.0.0-alpha.2',
  } = options;
  const storage = createStorage();
  const nodes: Record<Kind, Node[]> = { entities: [], collections: [], containers: [] };
  const images: Image[] = [];
  const uploads = new Map<string, Upload>();
  /** `<container id> <arch> <tag>` -> image. */
  const tags = new Map<string, Image>();
  let change = (image: Record<string, unknown>) => image;
  let ids = 0;
  const newId = () => `5${(++ids).toString(16).padStart(23, '0')}`;
  const withArch = version >= '2.0.0-alpha.2';

  const found = <T>(value: T | undefined, what: string): T => {
    if (value === undefined) throw new Refusal(404, `${what} not found`);
    return value;
  };
  const tagsOf = (container: Node, arch?: string) =>
    [...tags].flatMap(([key, image]) => {
      const [id, itsArch, tag = ''] = key.split(' ');
      return id === container.id && (arch === undefined || itsArch === arch)
        ? [[tag, image.id, itsArch] as const]
        : [];
    });
  const archTags = (container: Node) =>
    Object.fromEntries(
      [...new Set(tagsOf(container).map(([, , arch]) => arch))].map((arch) => [
        arch,
        Object.fromEntries(tagsOf(container, arch).map(([tag, id]) => [tag, id])),
      ]),
    );

  const showNode = (kind: Kind, node: Node): Record<string, unknown> => {
    const children = kind === 'entities' ? 'collections' : kind === 'collections' ? 'containers' : undefined;
    const below = children && nodes[children].filter(({ parent }) => parent === node).map(({ id }) => id);
    return {
      id: node.id,
      name: node.name,
      description: 'No description',
      ...(children && { [children]: below }),
      ...(kind === 'collections' && { entity: node.parent?.id, entityName: node.parent?.name }),
      ...(kind === 'containers' && {
        collection: node.parent?.id,
        collectionName: node.parent?.name,
        entityName: node.parent?.parent?.name,
        imageTags: Object.fromEntries(tagsOf(node).map(([tag, id]) => [tag, id])),
        ...(withArch && { archTags: archTags(node) }),
      }),
    };
  };
  const showImage = (image: Image) =>
    change({
      id: image.id,
      hash: image.hash,
      description: '',
      container: image.container.id,
      size: image.bytes?.length ?? 0,
      uploaded: image.bytes !== undefined,
      arch: image.arch ?? '',
      createdAt: image.createdAt,
      updatedAt: '0001-01-01T00:00:00Z',
      tags: [...tags].filter(([, other]) => other === image).map(([key]) => key.split(' ')[2]),
    });

  const findNode = (kind: Kind, reference: string) =>
    nodes[kind].find((node) => node.id === reference || pathOf(node) === reference);
  const findImage = (reference: string, arch: string | null): Image => {
    const [name = '', tag = 'latest'] = reference.split(':');
    const full = ['library', 'default']
      .slice(0, 3 - name.split('/').length)
      .concat(name)
      .join('/');
    const container = found(findNode('containers', full), name);
    if (HASH.test(tag))
      return found(
        images.find((one) => one.container === container && one.hash === tag),
        tag,
      );
    const key = `${container.id} ${withArch ? (arch ?? 'amd64') : '-'} ${tag}`;
    return found(tags.get(key), reference);
  };
  const imageById = (id: string) =>
    found(
      images.find((one) => one.id === id),
      `image ${id}`,
    );

  const create = (kind: Kind, body: Record<string, unknown>) => {
    const name = String(body.name ?? '');
    if (!PART.test(name)) throw new Refusal(400, `malformed name ${name}`);
    const key = PARENT[kind];
    const above = kind === 'collections' ? 'entities' : 'collections';
    const parent =
      key &&
      found(
        nodes[above].find(({ id }) => id === body[key]),
        `parent ${body[key]}`,
      );
    if (nodes[kind].some((node) => node.parent === parent && node.name === name))
      throw new Refusal(409, 'exists');
    const node = { id: newId(), name, parent };
    nodes[kind].push(node);
    return showNode(kind, node);
  };

  const createImage = (body: Record<string, unknown>) => {
    const hash = String(body.hash);
    if (!HASH.test(hash)) throw new Refusal(400, 'malformed hash');
    const container = found(
      nodes.containers.find(({ id }) => id === body.container),
      'container',
    );
    if (images.some((one) => one.container === container && one.hash === hash))
      throw new Refusal(409, 'exists');
    const createdAt = new Date().toISOString();
    images.push({ id: newId(), hash, container, createdAt, arch: undefined, bytes: undefined });
    return showImage(images.at(-1) as Image);
  };

  const setTag = (container: string, body: Record<string, unknown>, byArch: boolean) => {
    const { Arch: arch, Tag: tag, ImageID: id } = body;
    found(
      nodes.containers.find((node) => node.id === container),
      'container',
    );
    if (typeof tag !== 'string' || !TAG.test(tag)) throw new Refusal(400, 'malformed tag');
    if (byArch !== withArch || (byArch && (typeof arch !== 'string' || !PART.test(arch))))
      throw new Refusal(400, 'malformed architecture');
    const image = imageById(String(id));
    if (image.bytes === undefined || image.container.id !== container)
      throw new Refusal(400, 'no such image');
    if (byArch) image.arch = String(arch);
    tags.set(`${container} ${byArch ? arch : '-'} ${tag}`, image);
    return {};
  };

  const finish = (image: Image, bytes: Buffer) => {
    if (`sha256.${sha256(bytes)}` !== image.hash) throw new Refusal(400, 'the file has another hash');
    image.bytes = bytes;
    storage.objects.set(image.hash, bytes);
    return { quota: { quotaTotal: 0, quotaUsage: 0 }, containerUrl: '' };
  };

  /** Requests below `v2/imagefile/<id>`. */
  const upload = (
    host: string,
    method: string,
    [id = '', step = '']: string[],
    body: Record<string, unknown>,
  ) => {
    const image = imageById(id);
    const key = `upload ${image.id}`;
    const size = Number(body.filesize);
    if (`${method} ${step}` === 'POST ') {
      if (!(size > 0)) throw new Refusal(400, 'filesize');
      const headers = checks ? { 'x-amz-content-sha256': image.hash.slice('sha256.'.length) } : {};
      return { uploadURL: storage.sign(host, 'PUT', key, { size, headers }) };
    }
    if (`${method} ${step}` === 'PUT _complete')
      return finish(image, found(storage.objects.get(key), 'uploaded file'));
    if (partSize === 0) throw new Refusal(404, 'no multipart');
    if (`${method} ${step}` === 'POST _multipart') {
      if (!(size >= 5 * 1024 * 1024)) throw new Refusal(400, 'too small for parts');
      const parts = Math.ceil(size / partSize);
      const uploadID = newId();
      uploads.set(uploadID, { image, size, parts });
      return { uploadID, totalParts: parts, partSize, options: { s3compliant: String(checks) } };
    }
    const uploadID = String(body.uploadID);
    const open = found(uploads.get(uploadID), 'upload');
    if (open.image !== image) throw new Refusal(404, 'upload of another image');
    const partKey = (number: unknown) => `part ${uploadID} ${number}`;
    switch (`${method} ${step}`) {
      case 'PUT _multipart': {
        const { partNumber: number, partSize: bytes, sha256sum } = body;
        const expected = number === open.parts ? open.size - (open.parts - 1) * partSize : partSize;
        if (
          !Number.isInteger(number) ||
          Number(number) < 1 ||
          Number(number) > open.parts ||
          bytes !== expected
        )
          throw new Refusal(400, 'wrong part');
        if (checks && !/^[0-9a-f]{64}$/.test(String(sha256sum))) throw new Refusal(400, 'sha256sum');
        const headers = checks ? { 'x-amz-content-sha256': String(sha256sum) } : {};
        return { presignedURL: storage.sign(host, 'PUT', partKey(number), { size: expected, headers }) };
      }
      case 'PUT _multipart_complete': {
        const done = body.completedParts as { partNumber: number; token: string }[];
        if (done.length !== open.parts || done.some(({ partNumber }, index) => partNumber !== index + 1))
          throw new Refusal(400, 'InvalidPartOrder');
        const parts = done.map(({ partNumber }) => found(storage.objects.get(partKey(partNumber)), 'part'));
        if (parts.some((part, index) => `"${md5(part)}"` !== done[index]?.token))
          throw new Refusal(400, 'InvalidPart');
        uploads.delete(uploadID);
        return finish(image, Buffer.concat(parts));
      }
      case 'PUT _multipart_abort':
        uploads.delete(uploadID);
        return {};
      default:
        throw new Refusal(405, 'method');
    }
  };

  const search = (url: URL) => {
    const value = (url.searchParams.get('value') ?? '').toLowerCase();
    if (value.length < 3) throw new Refusal(400, 'search for at least 3 characters');
    const matching = (kind: Kind) =>
      nodes[kind].filter(({ name }) => name.includes(value)).map((node) => showNode(kind, node));
    return {
      entity: matching('entities'),
      collection: matching('collections'),
      container: matching('containers'),
      image: [],
    };
  };

  const get = (kind: Kind, reference: string) => {
    const depth = KINDS.indexOf(kind);
    const isParent = reference.split('/').filter(Boolean).length === depth;
    const above = KINDS[depth - 1];
    if (isParent && options.listing !== 'id') {
      const parent = above && findNode(above, reference);
      if (above === undefined || parent !== undefined)
        return nodes[kind].filter((node) => node.parent === parent).map((node) => showNode(kind, node));
    }
    return showNode(kind, found(findNode(kind, reference), reference));
  };

  const remove = (reference: string, arch: string | null) => {
    const image = findImage(reference, arch);
    for (const [key, other] of tags) if (other === image) tags.delete(key);
    images.splice(images.indexOf(image), 1);
    return {};
  };

  const route = (request: IncomingMessage, url: URL, text: string): unknown => {
    const { method = '', headers } = request;
    const path = decodeURIComponent(url.pathname.slice(1));
    const [, api = '', kind = '', rest = ''] = /^(v[12])\/([^/]+)\/?(.*)$/.exec(path) ?? [];
    checkToken(headers.authorization);
    if (method !== 'GET' && headers.authorization === undefined) throw new Refusal(401, 'a token is needed');
    if (method === 'GET' && path === 'version') return { version: 'v1.0.0', apiVersion: version };
    const body = method === 'POST' || method === 'PUT' ? parse(text) : {};
    const isNode = (KINDS as readonly string[]).includes(kind) && api === 'v1';
    const name = `${method} ${api}/${kind}`;
    if (name === 'GET v1/token-status') {
      if (headers.authorization === undefined) throw new Refusal(401, 'a token is needed');
      return {};
    }
    if (isNode && method === 'GET') return get(kind as Kind, rest);
    if (isNode && method === 'POST' && rest === '') return create(kind as Kind, body);
    const arch = url.searchParams.get('arch');
    if (name === 'GET v1/images') return showImage(findImage(rest, arch));
    if (name === 'POST v1/images' && rest === '') return createImage(body);
    if (name === 'DELETE v1/images') {
      if (arch === null) throw new Refusal(400, 'arch');
      return remove(rest, arch);
    }
    if (kind === 'tags' && method === 'GET') {
      const container = found(
        nodes.containers.find(({ id }) => id === rest),
        'container',
      );
      return api === 'v2'
        ? archTags(container)
        : Object.fromEntries(tagsOf(container).map(([tag, id]) => [tag, id]));
    }
    if (kind === 'tags' && method === 'POST') return setTag(rest, body, api === 'v2');
    if (name === 'GET v1/search') return search(url);
    if (api === 'v2' && kind === 'imagefile')
      return upload(headers.host ?? '', method, rest.split('/'), body);
    throw new Refusal(404, `no route ${method} ${path}`);
  };

  const sendFile = (request: IncomingMessage, response: ServerResponse, url: URL) => {
    checkToken(request.headers.authorization);
    const reference = decodeURIComponent(url.pathname.slice('/v1/imagefile/'.length));
    const image = findImage(reference, url.searchParams.get('arch'));
    const bytes = found(image.bytes, 'file');
    if (files === 'own') sendRange(request, response, bytes, { etag: `"${image.hash}"` });
    else
      response
        .writeHead(303, { location: storage.sign(request.headers.host ?? '', 'GET', image.hash) })
        .end();
  };

  /** What a remote's clients ask for its services (`internal/pkg/remote/endpoint` of Apptainer). */
  const services = (host: string | undefined) => {
    const service = { uri: `http://${host}` };
    return { libraryAPI: service, tokenAPI: service };
  };

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await buffer(request);
    const url = new URL(request.url ?? '', `http://${request.headers.host}`);
    try {
      if (storage.isFor(url)) storage.answer(request, response, url, body);
      else if (request.method !== 'POST' && url.pathname.startsWith('/v1/imagefile/'))
        sendFile(request, response, url);
      else if (url.pathname === '/assets/config/config.prod.json')
        send(response, 200, services(request.headers.host));
      else send(response, 200, { data: route(request, url, body.toString()) });
    } catch (error) {
      const { status = 500, message } = error as Partial<Refusal>;
      send(response, status, { error: { code: status, message } });
    }
  };

  const server = await startFaultServer((request, response) => {
    // A client that goes away in the middle of its body.
    handle(request, response).catch(() => response.destroy());
  });
  return {
    ...server,
    expire: storage.expire,
    pending: () => images.filter(({ bytes }) => bytes === undefined).map(({ hash }) => hash),
    describe: (next) => {
      change = next;
    },
  };
}

function checkToken(authorization: string | undefined): void {
  const token = authorization?.replace(/^bearer /i, '');
  if (token !== undefined && token !== LIBRARY_TOKEN) throw new Refusal(401, 'invalid token');
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'malformed JSON');
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
