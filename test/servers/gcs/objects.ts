/** The objects of a bucket: generations and preconditions, listings in pages, rewrites in several steps. */
import { randomUUID } from 'node:crypto';
import type { FakeGcsOptions } from '../fake-gcs.ts';
import { type Hashes, hashesOf } from './hashes.ts';
import { invalid, notFound, Refusal, unmet } from './refusal.ts';

export interface FakeObject {
  readonly bytes: Buffer;
  readonly hashes: Hashes;
  readonly generation: string;
  readonly created: Date;
  /** What was given with it: type, encoding, metadata. */
  readonly resource: Readonly<Record<string, unknown>>;
  readonly acl: string[];
}

type Resource = Readonly<Record<string, unknown>>;

/** "Quotas and limits": bytes of all keys and values. */
const METADATA_MAX = 8192;
const LONGEST_NAME = 1024;

export class FakeObjects {
  /** Live ones, by name. */
  readonly live = new Map<string, FakeObject>();
  readonly #former = new Map<string, FakeObject>();
  /** Bytes that rewrites have copied, by their token. */
  readonly #rewrites = new Map<string, number>();
  readonly #bucket: string;
  readonly #options: FakeGcsOptions;
  #generation = 1_700_000_000_000_000n;

  constructor(bucket: string, options: FakeGcsOptions) {
    this.#bucket = bucket;
    this.#options = options;
  }

  store(resource: Resource, bytes: Buffer, query = new URLSearchParams()): FakeObject {
    const { name, md5Hash, crc32c, ...kept } = resource;
    if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > LONGEST_NAME)
      throw invalid('Invalid name');
    checkPreconditions(this.live.get(name), query);
    this.checkInsertion(resource, query);
    const hashes = hashesOf(bytes);
    checkHash(md5Hash, hashes.md5Hash, this.#options);
    checkHash(crc32c, hashes.crc32c, this.#options);
    this.retire(name);
    this.#generation += 1_000n;
    const isPublic = [query.get('predefinedAcl'), query.get('destinationPredefinedAcl')].includes(
      'publicRead',
    );
    const object: FakeObject = {
      bytes,
      hashes,
      generation: String(this.#generation),
      created: new Date(Number(this.#generation / 1000n)),
      resource: kept,
      acl: isPublic ? ['allUsers'] : [],
    };
    this.live.set(name, object);
    return object;
  }

  /** What is refused before any content is there. */
  checkInsertion({ metadata }: Resource, query: URLSearchParams): void {
    const hasAcl = query.has('predefinedAcl') || query.has('destinationPredefinedAcl');
    if (hasAcl && this.#options.uniform)
      throw invalid('Cannot insert legacy ACL for an object when uniform bucket-level access is enabled.');
    const texts = Object.entries((metadata ?? {}) as Resource)
      .flat()
      .map(String);
    if (texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) > METADATA_MAX)
      throw invalid(`Metadata is larger than ${METADATA_MAX} bytes`);
  }

  /** The live object leaves; a versioned bucket keeps it. */
  retire(name: string): void {
    const live = this.live.get(name);
    if (live !== undefined && this.#options.versioned) this.#former.set(`${name}#${live.generation}`, live);
    this.live.delete(name);
  }

  find(name: string, query: URLSearchParams, parameter = 'generation'): FakeObject {
    const wanted = query.get(parameter);
    const live = this.live.get(name);
    const isLive = wanted === null || live?.generation === wanted;
    const found = isLive ? live : this.#former.get(`${name}#${wanted}`);
    if (found === undefined) throw notFound(`No such object: ${this.#bucket}/${name}`);
    checkPreconditions(found, query);
    return found;
  }

  /** The resource as the API shows it. */
  describe(name: string, object: FakeObject, origin: string): Record<string, unknown> {
    const { bytes, hashes, generation, created, resource } = object;
    const path = `storage/v1/b/${this.#bucket}/o/${encodeURIComponent(name)}`;
    return {
      kind: 'storage#object',
      id: `${this.#bucket}/${name}/${generation}`,
      selfLink: `${origin}/${path}`,
      mediaLink: `${origin}/download/${path}?generation=${generation}&alt=media`,
      contentType: 'application/octet-stream',
      ...resource,
      name,
      bucket: this.#bucket,
      generation,
      metageneration: '1',
      storageClass: 'STANDARD',
      size: String(bytes.length),
      ...hashes,
      etag: etagOf(object),
      timeCreated: created.toISOString(),
      updated: created.toISOString(),
    };
  }

  list(query: URLSearchParams, origin: string): Record<string, unknown> {
    if (this.#options.hidden)
      throw new Refusal(403, 'forbidden', 'Anonymous caller does not have storage.objects.list access.');
    const after = Buffer.from(query.get('pageToken') ?? '', 'base64url').toString();
    const entries = [...this.#folded(query)].filter(([name]) => name > after);
    const size = Math.min(Number(query.get('maxResults') ?? 1000), this.#options.pageSize ?? 1000);
    const page = entries.slice(0, size);
    const last = page.at(-1)?.[0];
    const prefixes = page.filter(([, object]) => object === undefined).map(([name]) => name);
    const items = page.flatMap(([name, object]) => (object ? [this.describe(name, object, origin)] : []));
    return {
      kind: 'storage#objects',
      ...(entries.length > size &&
        last !== undefined && { nextPageToken: Buffer.from(last).toString('base64url') }),
      ...(prefixes.length > 0 && { prefixes }),
      ...(items.length > 0 && { items }),
    };
  }

  /** Names in order, those with a delimiter cut off behind it. */
  #folded(query: URLSearchParams): Map<string, FakeObject | undefined> {
    const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter') ?? ''];
    const folded = new Map<string, FakeObject | undefined>();
    for (const name of [...this.live.keys()].filter((key) => key.startsWith(prefix)).sort()) {
      const end = delimiter === '' ? -1 : name.indexOf(delimiter, prefix.length);
      if (end < 0) folded.set(name, this.live.get(name));
      else folded.set(name.slice(0, end + delimiter.length), undefined);
    }
    return folded;
  }

  /** A step of a rewrite. A resource in the request replaces all metadata of the original. */
  rewrite(
    { from, to, resource }: { from: string; to: string; resource: Resource },
    query: URLSearchParams,
    origin: string,
  ): Record<string, unknown> {
    const source = this.find(from, query, 'sourceGeneration');
    const token = query.get('rewriteToken');
    if (token !== null && !this.#rewrites.has(token)) throw invalid('Invalid rewrite token.');
    const before = token === null ? 0 : (this.#rewrites.get(token) ?? 0);
    const size = source.bytes.length;
    const done = Math.min(size, before + (this.#options.rewriteStep ?? size));
    const answer = {
      kind: 'storage#rewriteResponse',
      totalBytesRewritten: String(done),
      objectSize: String(size),
    };
    if (done < size) {
      const rewriteToken = randomUUID();
      this.#rewrites.set(rewriteToken, done);
      return { ...answer, done: false, rewriteToken };
    }
    const metadata = Object.keys(resource).length > 0 ? resource : source.resource;
    const copy = this.store({ ...metadata, name: to }, source.bytes, query);
    return { ...answer, done: true, resource: this.describe(to, copy, origin) };
  }
}

export const etagOf = ({ generation }: FakeObject) => `C${Buffer.from(generation).toString('base64url')}=`;

function checkPreconditions(object: FakeObject | undefined, query: URLSearchParams): void {
  const current = object?.generation ?? '0';
  const wanted = query.get('ifGenerationMatch');
  if ((wanted !== null && wanted !== current) || query.get('ifGenerationNotMatch') === current) throw unmet();
}

function checkHash(stated: unknown, actual: string, { careless }: FakeGcsOptions): void {
  if (stated !== undefined && stated !== actual && !careless)
    throw invalid(`Provided hash "${stated}" doesn't match calculated hash "${actual}".`);
}
