/** Sends requests to an account, with a token that is renewed when it expires or is refused. */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import {
  type BufferedResponse,
  createHttpClient,
  type HttpClient,
  type RequestOptions,
  type StreamOptions,
} from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { Renewable } from '../kit/renewable.ts';
import { encodeKey } from '../kit/signed-address.ts';
import type { declaration } from './declaration.ts';
import { logIn, type Session, type SwiftOptions } from './login.ts';

/** There is one session. */
const ONLY = '';

export class Account {
  readonly target: string;
  readonly options: SwiftOptions;
  /** Objects in segments are told apart by their time, as the service does not compare their entity tags. */
  comparesTimes = false;
  readonly #env: NodeJS.ProcessEnv;
  readonly #instance: string;
  readonly #hints: Record<string, string>;
  /** Without credentials of its own: logs in, and tries links. */
  readonly public: HttpClient;
  readonly #sessions = new Renewable<Session>({ lifetime: ({ lifetime }) => lifetime });
  /** Clients of the account by origin; mostly one. */
  readonly #clients = new Map<string, HttpClient>();
  /** Containers that exist. */
  readonly #containers = new Set<string>();

  constructor({ name, options, env }: DriverContext<typeof declaration.options>) {
    this.options = options;
    this.target = options.storageUrl ?? options.url;
    this.#env = env;
    this.#instance = name;
    this.#hints = { UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`` };
    this.public = createHttpClient({
      env,
      hints: this.#hints,
      interpret: (error) => (error.status === 403 ? refused(error, this.#hints.UNAUTHORIZED) : error),
    });
  }

  /** The client of the account; before the first login, one without credentials. */
  get http(): HttpClient {
    return [...this.#clients.values()].at(-1) ?? this.public;
  }

  show(key: string): string {
    return `swift://${key}`;
  }

  /** Sends a request about a key (`container/object`), a container, or the account (`''`). */
  async request(method: string, key: string, options: RequestOptions = {}): Promise<BufferedResponse> {
    const { http, url } = await this.#open(key, options.signal);
    return http.request(method, url, options);
  }

  async stream(key: string, options: StreamOptions): Promise<Readable> {
    const { http, url } = await this.#open(key, options.signal);
    return http.stream(url, options);
  }

  /** The address of a key; anybody may know it. */
  async urlOf(key: string, signal?: AbortSignal): Promise<URL> {
    return (await this.#open(key, signal)).url;
  }

  /** Creates a container unless it exists. */
  async ensure(container: string, signal?: AbortSignal): Promise<void> {
    if (this.#containers.has(container)) return;
    if ((await unlessAbsent(this.request('HEAD', container, { signal }))) === undefined)
      await this.request('PUT', container, { headers: { 'content-length': '0' }, signal });
    this.#containers.add(container);
  }

  /** Somebody has removed a container. */
  forget(container: string): void {
    this.#containers.delete(container);
  }

  async close(): Promise<void> {
    await Promise.all([this.public, ...this.#clients.values()].map((client) => client.close()));
  }

  async #open(key: string, signal?: AbortSignal): Promise<{ http: HttpClient; url: URL }> {
    const { storage } = await this.#session(signal);
    const url = new URL(key === '' ? storage : `${storage.href}/${encodeKey(key)}`);
    const http = this.#clients.get(storage.origin) ?? this.#connect(storage);
    return { http, url };
  }

  #connect(storage: URL): HttpClient {
    const client = createHttpClient({
      base: new URL(`${storage.href}/`),
      env: this.#env,
      hints: this.#hints,
      authorize: async ({ signal }) => ({ 'x-auth-token': (await this.#session(signal)).token }),
      updateToken: async ({ credentials, signal }) => {
        const known = this.#sessions.peek(ONLY);
        const isRefused = known?.token === credentials['x-auth-token'];
        // The new token may equal the old one: a service gives its users one token until that expires.
        const next = this.#sessions.replace(
          ONLY,
          isRefused ? known : undefined,
          (s) => this.#enter(s),
          signal,
        );
        return (await next).isRenewable;
      },
    });
    this.#clients.set(storage.origin, client);
    return client;
  }

  #session(signal?: AbortSignal): Promise<Session> {
    return this.#sessions.get(ONLY, (flight) => this.#enter(flight), signal);
  }

  #enter(signal: AbortSignal): Promise<Session> {
    return logIn(this.public, this.#instance, this.options, signal);
  }
}

/** Ceph answers 403 to a wrong user or key. */
function refused(error: SregistryError, hint: string | undefined): SregistryError {
  return new SregistryError('UNAUTHORIZED', error.message, { hint, status: error.status, cause: error });
}
