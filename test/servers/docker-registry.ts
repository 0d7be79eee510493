/**
 * Debian's docker-registry (CNCF Distribution 2.8) as a child of the test process: on a free port of the loopback, deletion
 * enabled, its storage in a temporary folder, every request on record. It ends with the process that started it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pRetry from 'p-retry';

export interface RegistryOptions {
  /** `basic` asks every request for {@link REGISTRY_LOGIN}. Default: `none`. */
  auth?: 'none' | 'basic';
  /** The line of htpasswd for the login that `basic` asks for instead, with bcrypt. */
  htpasswd?: string;
  /** A storage folder to keep. Default: a temporary one, which `remove` deletes. */
  dir?: string;
  /** Default: any free port. */
  port?: number;
  /** Keep every request for `log()` (default true): for hours of them there is no room. */
  record?: boolean;
}

/** One answered request. The registry does not record the `Range` asked for: a ranged answer has status 206. */
export interface RegistryRequest {
  method: string;
  /** With the query, if any. */
  path: string;
  status: number;
  /** Of the body, as far as it was sent. */
  bytes: number;
}

export interface TestRegistry {
  /** `http://localhost:PORT` */
  readonly url: string;
  /** `localhost:PORT`, as it stands in an image's name. */
  readonly host: string;
  readonly port: number;
  /** Every request so far, restarts included. An entry appears a moment after its answer: poll for it. */
  log(): RegistryRequest[];
  /** Where it stores a blob. */
  blobFile(digest: string): string;
  /** Ends the server, keeps what it stores. */
  stop(): Promise<void>;
  /** Starts it again on the same port with the same storage. */
  restart(): Promise<void>;
  /** Ends the server and deletes its storage, unless that was given as `dir`. */
  remove(): Promise<void>;
}

export const REGISTRY_LOGIN = { username: 'tester', password: 'tester-secret' } as const;

/** REGISTRY_LOGIN as `htpasswd -nbBC 4` writes it. */
const HTPASSWD = 'tester:$2y$04$dKsL5K0GU.H/X3Qlpn3cr.o6rwhRK299N4MuISdPxV2YyGROWW2s2\n';

/** Milliseconds; a start takes about fifty. */
const START_LIMIT = 20_000;

/** Why no registry can be started here, or undefined where one can. */
export function registryUnavailable(): string | undefined {
  const { error } = spawnSync('docker-registry', ['--version']);
  return error ? 'docker-registry is not installed (scripts/setup --test)' : undefined;
}

/** Starts a registry; it answers when this resolves. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'sregistry-registry-'));
  const requests: RegistryRequest[] = [];
  const storage = options.dir ?? join(folder, 'data');
  const launch = (port: number) =>
    serve(writeConfig(folder, storage, port, options), (request) => {
      if (options.record !== false) requests.push(request);
    });

  // Between finding a free port and listening on it somebody else may take it.
  const started = await pRetry(
    async () => {
      const port = options.port ?? (await freePort());
      return { port, child: await launch(port) };
    },
    { retries: options.port === undefined ? 4 : 0, minTimeout: 0 },
  );

  const { port } = started;
  let { child } = started;
  const stop = () => end(child);
  return {
    url: `http://localhost:${port}`,
    host: `localhost:${port}`,
    port,
    log: () => [...requests],
    blobFile: (digest) => {
      const [algorithm = '', hex = ''] = digest.split(':');
      return join(storage, 'docker/registry/v2/blobs', algorithm, hex.slice(0, 2), hex, 'data');
    },
    stop,
    restart: async () => {
      await stop();
      child = await launch(port);
    },
    remove: async () => {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Writes the configuration (JSON is YAML) and answers its path. */
function writeConfig(
  folder: string,
  storage: string,
  port: number,
  { auth, htpasswd: login = HTPASSWD }: RegistryOptions,
): string {
  const htpasswd = join(folder, 'htpasswd');
  writeFileSync(htpasswd, login);
  const config = {
    version: 0.1,
    log: { level: 'info', formatter: 'json', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    http: { addr: `localhost:${port}`, secret: 'any' },
    ...(auth === 'basic' && { auth: { htpasswd: { realm: 'tests', path: htpasswd } } }),
  };
  const path = join(folder, 'config.yml');
  writeFileSync(path, JSON.stringify(config));
  return path;
}

/** Resolves when the registry listens; tells `record` of requests for as long as it runs. */
function serve(config: string, record: (request: RegistryRequest) => void): Promise<ChildProcess> {
  // setpriv: also when the test process is killed, the kernel ends its registry.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'docker-registry', 'serve', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
  });
  const { promise, resolve, reject } = Promise.withResolvers<ChildProcess>();
  const fail = (reason: string) => reject(new Error(`docker-registry did not start: ${reason}`));
  const limit = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`it did not listen within ${START_LIMIT} ms`);
  }, START_LIMIT);

  let lastMessage = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    const entry = parseLine(line);
    lastMessage = entry.msg ?? line;
    if (lastMessage.startsWith('listening on')) resolve(child);
    const request = toRequest(entry);
    if (request) record(request);
  });
  child.once('error', (error) => fail(error.message));
  child.once('close', (code) => fail(`it ended with ${code}: ${lastMessage}`));
  return promise.finally(() => clearTimeout(limit));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
}

/** A line of the registry's own log: logrus fields by their names. */
type LogEntry = { msg?: string } & Record<string, unknown>;

/** What is no JSON (a panic) has no fields. */
function parseLine(line: string): LogEntry {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

function toRequest(entry: LogEntry): RegistryRequest | undefined {
  if (!entry.msg?.startsWith('response completed')) return undefined;
  return {
    method: String(entry['http.request.method']),
    path: String(entry['http.request.uri']),
    status: Number(entry['http.response.status']),
    bytes: Number(entry['http.response.written'] ?? 0),
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}
