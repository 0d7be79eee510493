/**
 * One process's access to everything: settings, backends, catalog and cache, opened together and closed together. The
 * mount, the commands and the library are layers over it.
 */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend, Progress } from '../backends/backend.ts';
import { compareRevision } from '../backends/file-range.ts';
import { type DriverEntry, drivers } from '../backends/registry.ts';
import type { SregistryError } from '../base/errors.ts';
import { copyFile } from '../base/files.ts';
import { formatArchitecture, parsePlatform } from '../base/platform.ts';
import { ImageCache } from '../cache/cache.ts';
import { isFull } from '../cache/degraded.ts';
import type { CachedImage } from '../cache/image.ts';
import { type CacheLocation, locateCache, totalSpace } from '../cache/location.ts';
import type { Library } from '../catalog/library.ts';
import { openState, type State } from '../catalog/state.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { ByteSource } from '../image/source.ts';
import { parseDuration, parseSize } from '../settings/environment.ts';
import {
  configuredInstances,
  type Instance,
  instanceNamed,
  missingOptions,
  misspeltOptions,
  resolveInstance,
} from '../settings/instances.ts';
import { getPaths, type Paths } from '../settings/paths.ts';
import { entryOf, readClientSecrets, type Secrets } from '../settings/secrets.ts';
import { warnOnce } from '../settings/warn-once.ts';
import { CurrentImage } from './current-image.ts';
import { isLayered, LayeredImages } from './layered-images.ts';
import { Layers } from './layers.ts';
import { openUserLibrary } from './library.ts';
import { MetadataCache } from './metadata-cache.ts';
import { streamTo } from './stream.ts';
import { uriOf } from './uri.ts';

/** Default size of the cache: this part of its file system, at most {@link MAX_CACHE}. */
const CACHE_FRACTION = 0.2;
const MAX_CACHE = 50 * 1024 ** 3;
const DEFAULT_MIN_FREE = '2GiB';
/** Bytes that are copied at once. */
const COPY_SIZE = 1024 * 1024;
/** Seconds for which a resolved tag or a listing is trusted. */
const DEFAULT_TTL = '30';

export interface SessionOptions {
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Names of the backends. Default: those that {@link configuredInstances} finds. */
  readonly backends?: readonly string[] | undefined;
  /** `50G`, `20%`. */
  readonly cacheSize?: string | undefined;
  readonly cacheMinFree?: string | undefined;
  /** May opening the session evict images over these limits? Default true. A mount may run on the same cache with limits of its own. */
  readonly fitCache?: boolean | undefined;
  /** Extension of listed images whose service stores none. */
  readonly extension?: string | undefined;
  readonly offline?: boolean | undefined;
  /**
   * Architecture of images that exist for several, as parsePlatform takes it. Default: that of each backend's settings, else of this
   * machine.
   */
  readonly arch?: string | undefined;
  /** How long a tag or a listing is trusted: seconds, or a number with a unit. */
  readonly ttl?: string | undefined;
}

export class Session {
  readonly env: NodeJS.ProcessEnv;
  readonly paths: Paths;
  readonly location: CacheLocation;
  readonly state: State;
  readonly cache: ImageCache;
  readonly metadata: MetadataCache;
  readonly layers: Layers;
  readonly layered: LayeredImages;
  readonly extension: string;
  /** Milliseconds for which an image or a listing is trusted. */
  readonly ttl: number;
  /** Are services not asked? */
  readonly offline: boolean;
  /** As {@link SessionOptions.arch}, in Go's form. */
  readonly arch: string | undefined;
  /** The user's own images. Opened when first asked. */
  readonly library: Library;
  readonly #backends = new Map<string, Promise<Backend>>();
  /** Backends whose settings changed. What has begun with them goes on. */
  readonly #retired: Promise<Backend>[] = [];
  readonly #shown: readonly string[] | undefined;
  #configured: Configured;
  #plainHttp: Promise<Backend> | undefined;

  private constructor(options: SessionOptions, opened: Opened) {
    const { env = process.env } = options;
    this.env = env;
    this.paths = opened.paths;
    this.location = opened.location;
    this.state = opened.state;
    this.cache = opened.cache;
    this.layers = new Layers(opened.cache, opened.state);
    this.layered = new LayeredImages(this.layers, opened.state);
    this.library = openUserLibrary(env);
    this.arch = opened.arch;
    this.extension = options.extension ?? (env.SREGISTRY_EXT || 'simg');
    this.#shown = options.backends;
    this.#configured = configure(opened.secrets, env, options.backends);
    this.offline = options.offline ?? false;
    this.ttl = parseDuration(options.ttl ?? (env.SREGISTRY_TTL || DEFAULT_TTL), 'the time to live') * 1000;
    this.metadata = new MetadataCache({
      state: opened.state,
      ttl: this.ttl,
      offline: this.offline,
    });
  }

  /** Opens catalog and cache. Asks no service. */
  static async open(options: SessionOptions = {}): Promise<Session> {
    const { env = process.env } = options;
    const arch = options.arch === undefined ? undefined : formatArchitecture(parsePlatform(options.arch));
    const paths = getPaths(env);
    const secrets = await readClientSecrets(paths.secretsFile);
    const location = await locateCache(paths.cacheDir);
    const state = openState(location.root, location.network === undefined ? {} : { journalMode: 'delete' });
    const cache = new ImageCache({
      root: location.root,
      index: state.cacheIndex,
      traces: state.traces,
      limit: await cacheLimit(location.root, options.cacheSize ?? env.SREGISTRY_CACHE_SIZE),
      minFree: await bytesOf(
        location.root,
        options.cacheMinFree ?? (env.SREGISTRY_CACHE_MIN_FREE || DEFAULT_MIN_FREE),
        '--cache-min-free',
      ),
    });
    await cache.start({ fit: options.fitCache });
    return new Session(options, { arch, paths, secrets, location, state, cache });
  }

  get secrets(): Secrets {
    return this.#configured.secrets;
  }

  /** Names of the backends this session shows, each a folder of the mount. */
  get backendNames(): readonly string[] {
    return this.#configured.backendNames;
  }

  /** Errors for entries of the secrets file without a known driver. */
  get problems(): readonly SregistryError[] {
    return this.#configured.problems;
  }

  /**
   * Reads the secrets file anew. A backend whose entry changed gets its new settings, and what is remembered of it is forgotten.
   * What has begun with the old settings goes on with them. Throws SETTINGS, and changes nothing, if the file cannot be used.
   */
  async reload(): Promise<Reloaded> {
    const before = this.#configured;
    const after = configure(await readClientSecrets(this.paths.secretsFile), this.env, this.#shown);
    const changed: string[] = [];
    for (const [key, promise] of [...this.#backends]) {
      const backend = await promise.catch(() => undefined);
      if (backend === undefined) continue;
      const [old, now] = [before, after].map(({ secrets }) => JSON.stringify(entryOf(secrets, backend.name)));
      if (old === now) continue;
      this.#backends.delete(key);
      this.#retired.push(promise);
      this.metadata.forget(backend);
      changed.push(backend.name);
    }
    this.#configured = after;
    return {
      added: after.backendNames.filter((name) => !before.backendNames.includes(name)),
      removed: before.backendNames.filter((name) => !after.backendNames.includes(name)),
      changed: changed.filter((name) => after.backendNames.includes(name)).filter(isFirst),
    };
  }

  /** Forgets what is remembered of the backends in use, so that they are asked again. */
  async forgetAll(): Promise<void> {
    for (const opened of await Promise.allSettled(this.#backends.values()))
      if (opened.status === 'fulfilled') this.metadata.forget(opened.value);
  }

  /** Folder of files being pushed, on the file system of the cache. */
  get stagingFolder(): string {
    return join(this.location.root, 'staging');
  }

  /** The backend of that name or alias. Throws SETTINGS if none has it, or if an option is missing. */
  backend(name: string): Promise<Backend> {
    const known = this.#backends.get(name);
    if (known !== undefined) return known;
    const backend = createBackend(this.#instance(name), this);
    this.#backends.set(name, backend);
    // Do not remember a failure: the settings may be corrected meanwhile.
    backend.catch(() => this.#backends.delete(name));
    return backend;
  }

  /**
   * The backend for texts that begin with `http://`. Without a base, it speaks plain http to all hosts; the backend `http` does
   * so only to this machine.
   */
  plainHttp(): Promise<Backend> {
    this.#plainHttp ??= createBackend(this.#instance('http'), {
      secrets: this.secrets,
      env: { ...this.env, SREGISTRY_HTTP_NOHTTPS: 'yes' },
    });
    return this.#plainHttp;
  }

  /** `<backend>://<name>`, as every command takes it. */
  uri(backend: string | Backend, name: ImageName): string {
    return uriOf(backend, name);
  }

  /** Bytes of a revision on local disk. */
  cachedBytes(backend: Backend, image: RemoteImage): number {
    if (backend.localPath !== undefined) return image.size;
    if (isLayered(image)) return this.layered.cachedBytes(image);
    return this.cache.cachedBytes(backend.target, image);
  }

  /** An image to use as it is remembered. If it is STALE, `noteChange` gets the image that its name stands for now. */
  current(
    backend: Backend,
    image: RemoteImage,
    noteChange = (now: RemoteImage | undefined) => this.metadata.noteChange(backend, image.name, now),
  ): CurrentImage {
    return new CurrentImage(backend, image, noteChange);
  }

  /** Opens a revision for reading through the cache; `session.cache.close` ends it. `noteChange` is that of {@link current}. */
  openCached(
    backend: Backend,
    image: RemoteImage,
    noteChange?: (now: RemoteImage | undefined) => void,
  ): CachedImage {
    const current = this.current(backend, image, noteChange);
    return this.cache.open(backend.target, image, (offset, length, signal) =>
      current.use((known) => backend.read(known, offset, length, signal), signal),
    );
  }

  /**
   * Writes the whole image to a path, through the cache. Shares blocks with the cache if the file system can. Goes past the
   * cache if it has no room.
   */
  async copyTo(
    backend: Backend,
    image: RemoteImage,
    file: string,
    options: { progress?: Progress | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    if (backend.openLocal !== undefined) return copyOpened(await backend.openLocal(image), image, file);
    if (isLayered(image)) {
      await using opened = await this.layered.open(backend, image, this.current(backend, image), options);
      await writeSource(opened, file, options.signal);
      return;
    }
    const cached = this.openCached(backend, image);
    try {
      await cached.fetchAll(options.progress, options.signal);
    } catch (error) {
      await this.cache.close(cached);
      if (!isFull(error)) throw error;
      const stream = (current: RemoteImage) => streamTo(backend, current, file, options);
      return this.current(backend, image).use(stream, options.signal);
    }
    try {
      await cached.copyTo(file);
    } finally {
      await this.cache.close(cached);
    }
  }

  async close(): Promise<void> {
    await this.metadata.close();
    await this.layers.close();
    await this.cache.stop();
    await this.layers.released();
    const backends = await Promise.allSettled([
      ...this.#backends.values(),
      ...this.#retired,
      this.#plainHttp,
    ]);
    await Promise.allSettled(
      backends.map((b) => (b.status === 'fulfilled' ? b.value?.close?.() : undefined)),
    );
    this.library.close();
    this.state.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #instance(name: string): Instance<DriverEntry> {
    return instanceNamed(name, { drivers, secrets: this.secrets });
  }
}

/** Names of backends. */
export interface Reloaded {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Of those in use: their settings are others now. */
  readonly changed: readonly string[];
}

interface Configured {
  readonly secrets: Secrets;
  readonly backendNames: readonly string[];
  readonly problems: readonly SregistryError[];
}

/** What to show: the backends of these names and `local`, else all that are configured. */
function configure(
  secrets: Secrets,
  env: NodeJS.ProcessEnv,
  names: readonly string[] | undefined,
): Configured {
  const { instances, problems } = configuredInstances({ drivers, env, secrets });
  const backendNames =
    names === undefined
      ? instances.map(({ name }) => name)
      : ['local', ...names.map((name) => instanceNamed(name, { drivers, secrets }).name)].filter(isFirst);
  return { secrets, backendNames, problems };
}

/**
 * A backend with the options it has in that environment and those secrets, and with `arch` instead of the architecture that they say.
 * Throws SETTINGS if a required one is missing.
 */
export async function createBackend(
  instance: Instance<DriverEntry>,
  { env, secrets, arch }: Pick<Session, 'env' | 'secrets'> & Partial<Pick<Session, 'arch'>>,
): Promise<Backend> {
  const { values, missing } = resolveInstance(instance, { env, secrets });
  for (const { message, hint } of misspeltOptions(instance, secrets))
    warnOnce(`In the secrets file, entry ${instance.name}: ${message} ${hint}`);
  if (missing.length > 0) throw missingOptions(instance, missing);
  const driver = await instance.driver.load();
  const choice = arch !== undefined && 'arch' in instance.driver.options ? { arch } : {};
  return driver.create({ name: instance.name, options: { ...values, ...choice }, env });
}

interface Opened {
  readonly arch: string | undefined;
  readonly paths: Paths;
  readonly secrets: Secrets;
  readonly location: CacheLocation;
  readonly state: State;
  readonly cache: ImageCache;
}

/** Copies an image from its open file, and closes the file. Throws STALE if the file was changed meanwhile. */
async function copyOpened(opened: FileHandle, { name, revision }: RemoteImage, file: string): Promise<void> {
  try {
    await copyFile(`/proc/self/fd/${opened.fd}`, file);
    await compareRevision(opened, { path: formatImageName(name), revision }).catch(async (error: unknown) => {
      await rm(file, { force: true });
      throw error;
    });
  } finally {
    await opened.close();
  }
}

/** Writes the bytes of a source to a new file. */
async function writeSource(source: ByteSource, file: string, signal: AbortSignal | undefined): Promise<void> {
  await using written = await open(file, 'wx', 0o600);
  for (let at = 0; at < source.size; at += COPY_SIZE) {
    signal?.throwIfAborted();
    await written.writeFile(await source.read(at, COPY_SIZE));
  }
}

const isFirst = (name: string, index: number, all: readonly string[]) => all.indexOf(name) === index;

async function cacheLimit(root: string, size: string | undefined): Promise<number> {
  if (size) return bytesOf(root, size, '--cache-size');
  return Math.min(MAX_CACHE, Math.floor((await totalSpace(root)) * CACHE_FRACTION));
}

async function bytesOf(root: string, text: string, name: string): Promise<number> {
  const size = parseSize(text, name);
  return 'bytes' in size ? size.bytes : Math.floor((await totalSpace(root)) * size.fraction);
}
