/**
 * moto, a well-kept imitation of Amazon's services in Python, out of the Debian of `sid` beside this file. It keeps what it holds in
 * memory, and takes any access key unless it is started with `checked`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TEST_STATE } from './apptainer.ts';

const SID = join(import.meta.dirname, 'sid');
/** Milliseconds; a start takes about two seconds. */
const START_LIMIT = 60_000;

export interface Moto {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Ends the server, and with it what it stores. */
  stop(): Promise<void>;
}

/** Why moto cannot be started here, or undefined where it can. */
export function motoUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return 'moto needs root';
  if (existsSync(join(TEST_STATE, 'sid/usr/lib/python3/dist-packages/moto'))) return undefined;
  return 'moto has not been fetched (scripts/setup --test)';
}

/**
 * Resolves when it listens, on a port of its own choice.
 *
 * @param checked compare the signature of each request but the first so many with the access keys that IAM has.
 */
export async function startMoto({ checked }: { readonly checked?: number } = {}): Promise<Moto> {
  // setpriv: also when the test process is killed, the kernel ends its server.
  const command = [
    '--pdeathsig',
    'KILL',
    SID,
    'run',
    'python3',
    '-m',
    'moto.server',
    '-H',
    '127.0.0.1',
    '-p',
    '0',
  ];
  const child = spawn('setpriv', command, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...(checked !== undefined && { INITIAL_NO_AUTH_ACTION_COUNT: String(checked) }) },
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (reason: string) => reject(new Error(`moto did not start: ${reason}`));
  const limit = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`it did not listen within ${START_LIMIT} ms`);
  }, START_LIMIT);
  let last = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    last = line;
    const url = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (url !== undefined) resolve(url);
  });
  child.once('error', (error) => fail(error.message));
  child.once('close', (code) => fail(`it ended with ${code}: ${last}`));
  return { url: await promise.finally(() => clearTimeout(limit)), stop: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
}
