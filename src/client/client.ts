/**
 * The client, as in the Python client: one object with everything that people and programs do with one backend.
 *
 *     await using client = await getClient('lab');
 *     await client.push('hello.sif', 'demo/hello:1.0');
 *
 * It is a layer over a session that prefers this backend: a name without a scheme means this backend, as with
 * `SREGISTRY_CLIENT` in the commands; a URI means the backend it names.
 */
import type { Backend, ShareOptions } from '../backends/backend.ts';
import { createHttpClient, type HttpClient } from '../backends/http.ts';
import { drivers } from '../backends/registry.ts';
import { requireTexts } from '../base/arguments.ts';
import type { Container } from '../catalog/container.ts';
import type { LabelFilter, LabelUse } from '../catalog/labels.ts';
import type { Query } from '../catalog/library.ts';
import { getMetadata, type Metadata, type Names } from '../image/metadata.ts';
import type { RemoteImage } from '../image/remote.ts';
import { bot } from '../log/index.ts';
import { aliasesIn, defaultInstanceOf, INSTANCE_NAME, instanceNamed } from '../settings/instances.ts';
import { getPaths } from '../settings/paths.ts';
import { ACTIVE, readClientSecrets } from '../settings/secrets.ts';
import { createSettings, type Settings } from '../settings/settings.ts';
import { type AddRequest, addImage } from './add.ts';
import { authFlow } from './auth-flow.ts';
import { type Copied, type CopyOptions, copy } from './copy.ts';
import { getImage } from './get.ts';
import { type ImageSummary, listImages, renameImage } from './images.ts';
import { type Facts, inspect } from './inspect.ts';
import { listLabels } from './labels.ts';
import { isLibraryDisabled } from './library.ts';
import { type Pulled, type PullOptions, pull } from './pull.ts';
import { type Pushed, type PushOptions, push } from './push.ts';
import { findRemovable, remove } from './remove.ts';
import { type FoundImage, type SearchRequest, search, summarize } from './search.ts';
import { Session } from './session.ts';
import { share } from './share.ts';
import { clientOf, DEFAULT_CLIENT, parseTarget } from './target.ts';

export interface ClientOptions {
  /** Do not announce the client. */
  readonly quiet?: boolean | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Architecture of images that exist for several: `arm64`, `x86_64`, `arm/v7`. Default: the backend's, else this machine's. */
  readonly arch?: string | undefined;
}

interface Interruptible {
  readonly signal?: AbortSignal | undefined;
}

type SearchOptions = Omit<SearchRequest, 'backends' | 'found'>;

/**
 * `image` is a name, or a URI. A method that the backend cannot do throws UNSUPPORTED, whose hint names the drivers that can.
 * Other errors are those of the functions behind the methods.
 */
export interface Client extends Settings, AsyncDisposable {
  /** Name of the backend. */
  readonly clientName: string;
  readonly backend: Backend;
  /** The session behind it, for functions of the library that take one. */
  readonly session: Session;
  /**
   * get, post, put, delete, head, paginate, stream, download and healthy, as in the Python client: with the backend's
   * credentials, renewed after a 401; without any if the backend has no service that speaks HTTP.
   */
  readonly http: HttpClient;

  /** Prints the client's name, and where its images and its database are, unless it is quiet. */
  speak(): void;
  /** Calls {@link speak} at the beginning of a command, except one whose output alone matters. */
  announce(command: string): void;

  pull(image: string, options?: PullOptions): Promise<Pulled>;
  push(file: string, image: string, options?: PushOptions): Promise<Pushed>;
  /** Without a query, finds everything. */
  search(query?: string, options?: Omit<SearchOptions, 'query'>): Promise<FoundImage[]>;
  /** A link, which may be a secret of its own. */
  share(image: string, options?: ShareOptions & Interruptible): Promise<string>;
  /** Copies an image to another name; the service copies by itself if it can. */
  cp(from: string, to: string, options?: CopyOptions): Promise<Copied>;
  /** Removes an image from its service, and returns it. */
  delete(image: string, options?: Interruptible): Promise<RemoteImage>;
  /** Inspects a file, a URI, or a name: that of an image in the library, else at the backend. */
  inspect(image: string, options?: Interruptible): Promise<Facts>;

  /** Moves an image file into the library, or copies it. */
  add(file: string, name: string, options?: Omit<AddRequest, 'file' | 'name'>): Promise<Container>;
  /** The image added last under that name; with `arch`, the last one for that architecture. */
  get(query: Query, options?: { readonly arch?: string | undefined }): Promise<Container | undefined>;
  images(query?: string): Promise<ImageSummary[]>;
  /** Moves the file of an image out of the library. */
  mv(query: Query, path: string): Promise<Container>;
  rename(query: Query, name: string): Promise<Container>;
  rm(query: Query): Promise<Container>;
  /** Labels of the images that are known: those here, and those of services that were seen. */
  labels(filter?: LabelFilter, options?: Interruptible): Promise<LabelUse<string>[]>;

  /** What goes with an image file into a registry. The names are those of the file, unless others are given. */
  getMetadata(file: string, options?: { readonly names?: Names } & Interruptible): Promise<Metadata>;
  authFlow: typeof authFlow;

  close(): Promise<void>;
}

/**
 * The client for a backend's name (`lab`) or a URI (`lab://demo/hello`), else for `SREGISTRY_CLIENT`, else for the active
 * backend, else for `hub`. Throws SETTINGS, with the nearest name, if the backend does not exist. `close` ends it.
 */
export async function getClient(which = '', options: ClientOptions = {}): Promise<Client> {
  requireTexts('getClient(which?, options?)', { which });
  const { env = process.env } = options;
  const secrets = await readClientSecrets(getPaths(env).secretsFile);
  const named = INSTANCE_NAME.test(which) ? which : clientOf(which, { env, secrets });
  const instance = instanceNamed(named ?? DEFAULT_CLIENT, { drivers, secrets });
  const session = await Session.open({ env: { ...env, [ACTIVE]: instance.name }, arch: options.arch });
  try {
    const backend = await session.backend(instance.name);
    const settings = createSettings({
      instance: instance.name,
      driver: defaultInstanceOf(instance.driver),
      aliases: aliasesIn(secrets, instance),
      schema: instance.driver.options,
      env,
    });
    return createClient(session, backend, settings, options);
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** Commands whose output alone matters, as scripts use it. */
const UNANNOUNCED = ['add', 'backend', 'get', 'images', 'inspect', 'labels'];

function createClient(
  session: Session,
  backend: Backend,
  settings: Settings,
  { quiet = false }: ClientOptions,
): Client {
  const { library } = session;
  const { http: own } = backend;
  const http = own ?? createHttpClient({ env: session.env });
  const speak = () => {
    if (!quiet) bot.info(introduction(session, backend));
  };
  const close = async () => {
    await session.close();
    if (own === undefined) await http.close();
  };
  return {
    ...settings,
    clientName: backend.name,
    backend,
    // Hidden from console.log, which would print the whole environment.
    get session() {
      return session;
    },
    http,

    speak,
    announce(command) {
      if (!UNANNOUNCED.includes(command)) speak();
    },

    async pull(image, options) {
      requireTexts('pull(image, options?)', { image });
      return pull(session, image, options);
    },
    async push(file, image, options) {
      requireTexts('push(file, image, options?)', { file, image });
      return push(session, file, image, options);
    },
    async search(query = '', options = {}) {
      requireTexts('search(query?, options?)', { query });
      return searchOne(session, backend, { query, ...options });
    },
    async share(image, options) {
      requireTexts('share(image, options?)', { image });
      return share(session, image, options);
    },
    async cp(from, to, options) {
      requireTexts('cp(from, to, options?)', { from, to });
      return copy(session, from, to, options);
    },
    async delete(image, { signal } = {}) {
      requireTexts('delete(image, options?)', { image });
      const target = await parseTarget(image, session);
      const found = await findRemovable(session, target, signal);
      await remove(session, target, found, signal);
      return found;
    },
    async inspect(image, { signal } = {}) {
      requireTexts('inspect(image, options?)', { image });
      return inspect(session, image, signal);
    },

    async add(file, name, options) {
      requireTexts('add(file, name, options?)', { file, name });
      return addImage(library, { ...options, file, name });
    },
    get: (query, { arch } = {}) => getImage(library, query, arch),
    images: (query) => listImages(library, query),
    async mv(query, path) {
      requireTexts('mv(query, path)', { path });
      return library.mv(query, path);
    },
    async rename(query, name) {
      requireTexts('rename(query, name)', { name });
      return renameImage(library, query, name);
    },
    rm: (query) => library.rm(query),
    labels: (filter, { signal } = {}) => listLabels(session, filter, signal),

    async getMetadata(file, { names, signal } = {}) {
      requireTexts('getMetadata(file, options?)', { file });
      return getMetadata(file, names, signal);
    },
    authFlow,

    close,
    [Symbol.asyncDispose]: close,
  };
}

/** In the Python client's form: `[client|hub] [database|sqlite:////home/me/.singularity/sregistry.db]`, and the target. */
function introduction({ env, paths }: Session, { name, target }: Backend): string {
  const database = isLibraryDisabled(env) ? 'disabled' : `sqlite:///${paths.databaseFile}`;
  return `[client|${name}] [database|${database}] [target|${target}]`;
}

async function searchOne(session: Session, { name }: Backend, request: SearchOptions): Promise<FoundImage[]> {
  const images: FoundImage[] = [];
  const { failures } = await search(session, {
    ...request,
    backends: [name],
    found: (image, backend, seen) => images.push(summarize(session, image, backend, seen)),
  });
  for (const { error } of failures) throw error;
  return images;
}
