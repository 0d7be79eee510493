/** What the parts of a run share: registries behind faulting proxies, tags and what they may hold, mounts, counters. */
import { join } from 'node:path';
import { registryUnavailable, startRegistry } from '../servers/docker-registry.ts';
import { s3Unavailable, startS3 } from '../servers/s3.ts';
import { Bytes, type Content, HEADER_PAGES, PAGE } from './content.ts';
import { add, Counters } from './counters.ts';
import { Contents, Tag, type TagOptions, type Value } from './model.ts';
import { FaultingProxy } from './proxy.ts';
import { Random } from './random.ts';
import { MountPoint, Rig } from './rig.ts';
import { ociService, type Service, s3Service } from './services.ts';
import { TableWriter } from './table.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

const SMALL = [300 * KIB, 2 * MIB] as const;
const MEDIUM = [1 * MIB, 5 * MIB] as const;
const LARGE = [64 * MIB, 65 * MIB] as const;

/** What the cache may hold: less than all images together, so that some are evicted all the time. */
export const CACHE_LIMITS = { size: 96 * MIB, minFree: 0 };

const TAGS: Record<string, Omit<TagOptions, 'backend'>[]> = {
  lab: [
    { image: 'moved-a', kind: 'moved', sizes: SMALL },
    { image: 'moved-b', kind: 'moved', sizes: MEDIUM },
    { image: 'moved-c', kind: 'moved', sizes: MEDIUM },
    { image: 'large', kind: 'moved', sizes: LARGE },
    { image: 'written-a', kind: 'written', sizes: SMALL },
    { image: 'written-b', kind: 'written', sizes: MEDIUM },
    { image: 'written-c', kind: 'written', sizes: SMALL },
    { image: 'updated-a', kind: 'updated', sizes: SMALL },
    { image: 'updated-b', kind: 'updated', sizes: MEDIUM },
    { image: 'volatile', kind: 'volatile', sizes: SMALL },
  ],
  bucket: [
    { image: 'moved-a', kind: 'moved', sizes: SMALL },
    { image: 'moved-b', kind: 'moved', sizes: MEDIUM },
    { image: 'written-a', kind: 'written', sizes: SMALL },
    { image: 'written-b', kind: 'written', sizes: MEDIUM },
    { image: 'updated-a', kind: 'updated', sizes: SMALL },
    { image: 'volatile', kind: 'volatile', sizes: SMALL },
  ],
};

export class Arena {
  readonly seed: string;
  readonly counters = new Counters();
  readonly contents = new Contents();
  readonly bytes: Bytes;
  readonly rig = new Rig();
  /** The second may not remove images: what is left of writes can be cleared away through it without harm. */
  readonly mounts: readonly MountPoint[];
  readonly tags: Tag[] = [];
  readonly proxies: FaultingProxy[] = [];
  readonly #services = new Map<string, Service>();
  readonly #ends: (() => Promise<unknown>)[] = [];
  #table: TableWriter;
  /** From 1. */
  round = 0;
  /** Told to stop: nothing more is started. */
  isGivenUp = false;

  private constructor(seed: string) {
    this.seed = seed;
    this.bytes = new Bytes(seed);
    this.#table = new TableWriter(join(this.rig.home, 'contents'));
    this.mounts = [new MountPoint(this.rig, 'm1', ['--allow-delete']), new MountPoint(this.rig, 'm2', [])];
  }

  /** Starts servers and proxies, configures the rig, and puts a first content into each tag. */
  static async open(seed: string, random: Random): Promise<Arena> {
    const arena = new Arena(seed);
    try {
      await arena.#startOci();
      const missing = s3Unavailable();
      if (missing === undefined) await arena.#startS3();
      else add(arena.counters.skipped, `S3 (${missing})`);
      for (const tag of arena.tags) {
        await arena.move(tag, random);
        tag.settle(tag.certain ?? 'absent');
      }
      arena.renewTable();
      return arena;
    } catch (error) {
      await arena.close();
      throw error;
    }
  }

  get table(): string {
    return this.#table.path;
  }

  /** The sources of writes. */
  sourceOf(id: number): string {
    return join(this.rig.home, 'src', `${id}.sif`);
  }

  violation(kind: string, detail: string): void {
    const violation = { kind, round: this.round, detail, at: new Date().toISOString() };
    this.counters.violations.push(violation);
    console.error(`VIOLATION in round ${this.round} (seed ${this.seed}): ${kind}: ${detail}`);
  }

  /** A new content for a tag, which readers may see from now on. */
  newContent(tag: Tag, random: Random): Content {
    const content = { id: this.contents.next(), size: random.integer(...tag.sizes) };
    return this.announce(tag, content);
  }

  /** The content that `base` becomes when some of its pages are written anew. */
  newUpdate(tag: Tag, base: Content, random: Random): Content {
    const wholePages = Math.floor(base.size / PAGE);
    const first = random.integer(HEADER_PAGES, wholePages - 1);
    const count = random.integer(1, wholePages - first + 1);
    return this.announce(tag, { id: this.contents.next(), size: base.size, update: { base, first, count } });
  }

  announce(tag: Tag, content: Content): Content {
    this.contents.add(content, this.bytes.sha256(content));
    this.#table.add(tag.path, content);
    return content;
  }

  /** Puts a new content into the registry, past mounts and proxies. */
  async move(tag: Tag, random: Random): Promise<void> {
    const content = this.newContent(tag, random);
    const write = tag.begin({ value: content.id, mount: undefined, how: 'another machine' });
    try {
      await this.#service(tag).put(tag.image, Buffer.concat([...this.bytes.pieces(content)]));
      write.acked = true;
      this.counters.moves += 1;
    } finally {
      write.end = Date.now();
    }
  }

  /** What the registry holds, asked past the proxy; a text where nobody ever meant it. */
  async valueOf(tag: Tag): Promise<Value | string> {
    const digest = await this.#service(tag).digest(tag.image);
    if (digest === undefined) return 'absent';
    return this.contents.find(digest) ?? `bytes that nobody meant (${digest})`;
  }

  /** Gives a tag a right content again. */
  async restore(tag: Tag): Promise<void> {
    await this.move(tag, new Random(this.seed, 'restore', this.round, tag.uri));
    tag.settle(tag.writes.at(-1)?.value ?? 'absent');
  }

  /** A new list for readers: what tags hold, now that everything has settled. */
  renewTable(): void {
    this.#table = new TableWriter(join(this.rig.home, `contents-${this.round}`));
    for (const { path, settled } of this.tags) {
      if (settled !== 'absent') this.#table.add(path, this.contents.get(settled));
    }
  }

  /**
   * A registry that cannot be asked leaves a mount with what it knew, however long ago: then readers may see, whole, what a tag
   * was before.
   */
  admitPast(): void {
    for (const { path, past } of this.tags)
      for (const id of past) this.#table.add(path, this.contents.get(id));
  }

  async close(): Promise<void> {
    for (const mount of this.mounts) await mount.destroy();
    for (const end of this.#ends.reverse()) await end();
  }

  #service(tag: Tag): Service {
    return this.#services.get(tag.backend) as Service;
  }

  async #startOci(): Promise<void> {
    const missing = registryUnavailable();
    if (missing !== undefined) throw new Error(missing);
    const registry = await startRegistry({ record: false });
    this.#ends.push(() => registry.remove());
    const proxy = await this.#startProxy(registry.url);
    await this.rig.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${proxy.url}`);
    this.#addService(ociService(registry.url, 'lab'));
  }

  async #startS3(): Promise<void> {
    const s3 = await startS3();
    this.#ends.push(() => s3.stop());
    const bucket = await s3.createBucket();
    const proxy = await this.#startProxy(s3.url);
    const { accessKeyId, secretAccessKey } = s3.login;
    const login = [`accessKeyId=${accessKeyId}`, `secretAccessKey=${secretAccessKey}`];
    const options = [`base=${proxy.url}`, `bucket=${bucket}`, 'region=us-east-1', ...login];
    await this.rig.ok('backend', 'add', 'bucket', '--driver', 's3', ...options);
    this.#addService(s3Service(s3.url, bucket, 'bucket'));
  }

  async #startProxy(origin: string): Promise<FaultingProxy> {
    const proxy = await FaultingProxy.start(origin, `${this.seed}/${this.proxies.length}`);
    this.proxies.push(proxy);
    this.#ends.push(() => proxy.stop());
    return proxy;
  }

  #addService(service: Service): void {
    this.#services.set(service.name, service);
    for (const tag of TAGS[service.name] ?? []) this.tags.push(new Tag({ backend: service.name, ...tag }));
  }
}
