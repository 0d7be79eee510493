/** What the cases work with: a backend through a proxy, a collection of their own, images that are really there. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect } from 'vitest';
import type {
  Backend,
  ImageFile,
  ListEntry,
  PushOptions,
  RemoteImage,
} from '../../../src/backends/backend.ts';
import type { ImageName } from '../../../src/image/name.ts';
import { parseImageName } from '../../../src/image/names.ts';
import { type FaultProxy, startFaultProxy } from '../../servers/fault-proxy.ts';
import type { Subject } from '../conformance.ts';

/** Bytes that no compression, no cache and no other image has. */
export const content = (size = 100_000): Buffer => randomBytes(size);

export const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export class Bench {
  readonly subject: Subject;
  /** Through the proxy, if there is one. */
  readonly backend: Backend;
  readonly #proxy: FaultProxy | undefined;
  readonly #folder: string;
  readonly #backends: Backend[] = [];
  #collections = 0;
  #files = 0;

  private constructor(subject: Subject, opened: Opened) {
    this.subject = subject;
    this.backend = opened.backend;
    this.#proxy = opened.proxy;
    this.#folder = opened.folder;
    this.#backends.push(opened.backend);
  }

  static async open(subject: Subject): Promise<Bench> {
    const { origin } = subject;
    const proxy =
      origin === undefined
        ? undefined
        : await startFaultProxy(origin, { rewrite: subject.pages?.rewrite, exempt: subject.exempt });
    const backend = await subject.connect({ origin: proxy?.url ?? '', env: {} });
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-conformance-'));
    return new Bench(subject, { backend, proxy, folder });
  }

  get proxy(): FaultProxy {
    if (this.#proxy === undefined) throw new Error('a subject without an origin: say http: false');
    return this.#proxy;
  }

  /** Takes back the faults that are left of a test. */
  mend(): void {
    this.#proxy?.clear();
  }

  /** Requests so far, or 0 where there is no network. */
  get requests(): number {
    return this.#proxy?.requests.length ?? 0;
  }

  /** Another backend of the service. */
  async connect(env: NodeJS.ProcessEnv = {}, origin = this.#proxy?.url ?? ''): Promise<Backend> {
    const backend = await this.subject.connect({ origin, env });
    this.#backends.push(backend);
    return backend;
  }

  /** A collection that nothing is in yet. */
  collection(): string {
    this.#collections += 1;
    const parent = this.subject.collection ?? 'conformance';
    if (parent === '') return '';
    return `${parent}${this.subject.flat ? '-' : '/'}c${this.#collections}`;
  }

  /** A name that no image has yet, in a collection of its own. */
  name(reference = 'hello:1.0', collection = this.collection()): ImageName {
    return nameIn(collection, reference);
  }

  /** A file with these bytes. */
  async file(bytes: Buffer): Promise<ImageFile> {
    this.#files += 1;
    const path = join(this.#folder, `image-${this.#files}.sif`);
    await writeFile(path, bytes);
    return { path, size: bytes.length };
  }

  async push(name: ImageName, bytes: Buffer, options: PushOptions = {}): Promise<RemoteImage> {
    if (this.backend.push === undefined) throw new Error('no push: the subject needs put()');
    return this.backend.push(await this.file(bytes), name, options);
  }

  /** Stores an image as somebody else would. */
  async store(name: ImageName, bytes: Buffer, annotations: Record<string, string> = {}): Promise<void> {
    if (this.subject.put === undefined) await this.push(name, bytes, { annotations });
    else await this.subject.put(name, bytes, annotations);
  }

  /** Stores an image and resolves it. */
  async image(name = this.name(), bytes = content()): Promise<{ image: RemoteImage; bytes: Buffer }> {
    await this.store(name, bytes);
    return { image: await this.resolve(name), bytes };
  }

  async resolve(name: ImageName, backend = this.backend): Promise<RemoteImage> {
    const image = await backend.resolve(name);
    if (image === undefined) throw new Error(`${name.image} does not resolve`);
    return image;
  }

  /** The bytes of a range; default: all of them. */
  async read(
    image: RemoteImage,
    offset = 0,
    length = image.size - offset,
    backend = this.backend,
  ): Promise<Buffer> {
    return buffer(await backend.read(image, offset, length));
  }

  async list(collection: string, backend = this.backend): Promise<ListEntry[]> {
    const entries: ListEntry[] = [];
    for await (const entry of backend.list(collection)) entries.push(entry);
    return entries;
  }

  async close(): Promise<void> {
    await Promise.all(this.#backends.map((backend) => backend.close?.()));
    await this.#proxy?.close();
    await this.subject.close?.();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

interface Opened {
  readonly backend: Backend;
  readonly proxy: FaultProxy | undefined;
  readonly folder: string;
}

/** `reference` may hold further collections: `a/b/hello:1.0`. */
export function nameIn(collection: string, reference: string): ImageName {
  const {
    tag,
    image,
    collection: below,
  } = parseImageName(`x.y/${reference}`, {
    lowercase: false,
    defaultCollection: '',
  });
  return { collection: [collection, below].filter(Boolean).join('/'), image, tag };
}

/** Names of a listing: `tools/` for a collection, `hello:1.0` for an image. */
export function namesOf(entries: readonly ListEntry[]): string[] {
  return entries
    .map((entry) =>
      entry.kind === 'collection' ? `${entry.name}/` : `${entry.name.image}:${entry.name.tag}`,
    )
    .sort();
}

/** Compares without printing megabytes when it fails. */
export function expectSame(actual: Buffer, expected: Buffer): void {
  expect({ size: actual.length, sha256: sha256(actual) }).toEqual({
    size: expected.length,
    sha256: sha256(expected),
  });
}
