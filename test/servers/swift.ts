/**
 * OpenStack Swift for tests, from Debian's python3-swift: all its servers in one process, on ports of the loopback that the kernel chose,
 * with logins of version 1 (tempauth). It ends with the process that started it.
 *
 * `SREGISTRY_TEST_SWIFT=http://localhost:7480/auth/v1.0`, with `ST_USER` and `ST_KEY`, makes the same tests use another service, such as
 * Ceph.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Backend } from '../../src/backends/backend.ts';
import { declaration } from '../../src/backends/swift/declaration.ts';
import swift from '../../src/backends/swift/index.ts';
import type { SwiftOptions } from '../../src/backends/swift/login.ts';
import { checkOption } from '../../src/settings/option-value.ts';

export interface TestSwift {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Where to log in. */
  readonly auth: string;
  /** Path of the account. */
  readonly account: string;
  readonly login: { readonly user: string; readonly token: string };
  /** Sends a request about a key with a token, as any client may. */
  request(method: string, key: string, init?: RequestInit): Promise<Response>;
  /** Ends the server, and with it what it stores. */
  stop(): Promise<void>;
}

export interface SwiftServerOptions {
  /** Seconds after which a token expires. */
  readonly tokenLife?: number;
}

const OTHER = process.env.SREGISTRY_TEST_SWIFT || undefined;
/** Debian's packages are only there for the Python of Debian. */
const PYTHON = '/usr/bin/python3';
/** Milliseconds; a start takes about two seconds. */
const START_LIMIT = 60_000;

/** Why there is no Swift here, or undefined where there is one. */
export function swiftUnavailable(): string | undefined {
  if (OTHER) return undefined;
  const { status } = spawnSync(PYTHON, ['-c', 'import swift']);
  return status === 0 ? undefined : 'python3-swift is not installed (scripts/setup --test)';
}

/** Starts a service; it answers when this resolves. */
export async function startSwift({ tokenLife = 86_400 }: SwiftServerOptions = {}): Promise<TestSwift> {
  const own = OTHER ? undefined : await serve(tokenLife);
  const auth = OTHER ?? `${own?.url}/auth/v1.0`;
  const { ST_USER = '', ST_KEY = '' } = process.env;
  const login = own ? { user: 'test:tester', token: 'testing' } : { user: ST_USER, token: ST_KEY };
  const headers = { 'x-auth-user': login.user, 'x-auth-key': login.token };
  const enter = async () => (await fetch(auth, { headers })).headers;
  const storage = new URL((await enter()).get('x-storage-url') ?? '');
  return {
    url: storage.origin,
    auth,
    account: storage.pathname,
    login,
    request: async (method, key, init = {}) => {
      const token = (await enter()).get('x-auth-token') ?? '';
      const url = `${storage.href}/${key}`;
      return fetch(url, { ...init, method, headers: { ...init.headers, 'x-auth-token': token } });
    },
    stop: async () => own?.stop(),
  };
}

/** A backend of the account. `origin` is that of a {@link TestSwift}, or of a proxy in front of it. The login takes no detour. */
export function connectSwift(
  { url, auth, account, login }: TestSwift,
  options: Readonly<Record<string, string | undefined>> = {},
  { origin = url, env = {} }: { readonly origin?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Backend {
  const given = { url: auth, storageUrl: origin + account, ...login, ...options };
  return swift.create({ name: 'swift', options: swiftOptions(given), env });
}

/** The driver's options, of which only those that matter are given. */
export function swiftOptions(given: Readonly<Record<string, string | undefined>>): SwiftOptions {
  const entries = Object.entries(declaration.options).map(([name, spec]) => {
    const text = given[name] ?? ('default' in spec ? spec.default : undefined);
    return [name, text === undefined ? text : checkOption('swift', name, spec, { text, place: 'a test' })];
  });
  return Object.fromEntries(entries) as SwiftOptions;
}

async function serve(tokenLife: number): Promise<{ url: string; stop: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-swift-'));
  const program = join(import.meta.dirname, 'swift', 'serve.py');
  // setpriv: also when the test process is killed, the kernel ends its server.
  const command = ['--pdeathsig', 'KILL', PYTHON, '-W', 'ignore', program, folder, `token_life=${tokenLife}`];
  const child = spawn('setpriv', command, { stdio: ['ignore', 'pipe', 'pipe'] });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (reason: string) => reject(new Error(`Swift did not start: ${reason}`));
  const limit = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`it did not listen within ${START_LIMIT} ms`);
  }, START_LIMIT);
  let last = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    last = line;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const port = /^ready on (\d+)$/.exec(line)?.[1];
    if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
  });
  child.once('error', (error) => fail(error.message));
  child.once('close', (code) => fail(`it ended with ${code}: ${last}`));
  const url = await promise.finally(() => clearTimeout(limit));
  return {
    url,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const closed = once(child, 'close');
        child.kill('SIGKILL');
        await closed;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}
