/**
 * Programs called `docker-credential-<name>` that keep logins (github.com/docker/docker-credential-helpers). Each runs in a
 * process group of its own, so that what it started can be ended with it.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { untilAborted } from '../base/abort.ts';
import { systemCode } from '../base/errors.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { warnOnce } from './warn-once.ts';

/** A helper that waits for a person (a locked keychain) must not hold up a mount. */
const TIME_LIMIT_MS = 10_000;
/** Characters of an answer; logins are short. */
const ANSWER_MAX = 1024 * 1024;

/** What helpers print and exit with 1 when they know of no login; no error. */
const NOT_FOUND = /credentials not found/i;

/** The user name that marks the secret as an identity token. */
const TOKEN_USER = '<token>';

/** A login; `source` says where it was found, for people. */
export type DockerCredentials = { readonly source: string } & (
  | { readonly username: string; readonly password: string }
  /** A refresh token of OAuth2, to be traded for an access token. */
  | { readonly identityToken: string }
  /** A bearer token, to be sent as it is. */
  | { readonly registryToken: string }
);

export interface HelperQuestion {
  /** What names the helper, for messages. */
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What the helper called `name` knows for `server`; undefined where it knows nothing, or, with a warning, does not work or
 * takes longer than 10 s. When the signal fires the helper is killed, and the signal's reason thrown.
 */
export async function askHelper(
  name: unknown,
  server: string,
  { file, env, signal }: HelperQuestion,
): Promise<DockerCredentials | undefined> {
  // The name becomes that of a program: no path may be in it.
  if (typeof name !== 'string' || !/^[\w.-]+$/.test(name)) {
    warnOnce(`${file} names a credential helper that cannot be: ${JSON.stringify(name)}`);
    return undefined;
  }
  const program = `docker-credential-${name}`;
  try {
    const { code, stdout, stderr } = await run(program, server, env, signal);
    if (code === 0) return fromAnswer(stdout, program);
    if (NOT_FOUND.test(stdout + stderr)) return undefined;
    throw new Error(stdout.trim() || stderr.trim() || 'it failed');
  } catch (error) {
    signal?.throwIfAborted();
    const reason = systemCode(error) === 'ENOENT' ? 'it is not installed' : (error as Error).message;
    warnOnce(`${program}, which ${file} names, gave no login for ${server}: ${reason}`);
    return undefined;
  }
}

function fromAnswer(text: string, source: string): DockerCredentials | undefined {
  const { Username: username, Secret: secret } = parseAnswer(text);
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  return username === TOKEN_USER ? { identityToken: secret, source } : { username, password: secret, source };
}

function parseAnswer(text: string): JsonObject {
  try {
    const answer: unknown = JSON.parse(text);
    if (isJsonObject(answer)) return answer;
  } catch {
    // JSON.parse quotes what it was given: the secret.
  }
  throw new Error('its answer is malformed');
}

interface Outcome {
  /** Exit code; null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  program: string,
  server: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<Outcome> {
  signal?.throwIfAborted();
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new Error(`it took longer than ${TIME_LIMIT_MS / 1000} s`)),
    TIME_LIMIT_MS,
  );
  const child = spawn(program, ['get'], { env, detached: true });
  try {
    return await untilAborted(
      outcomeOf(child, server),
      signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    );
  } catch (error) {
    kill(child);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function outcomeOf(child: ChildProcessWithoutNullStreams, server: string): Promise<Outcome> {
  // A helper may end without reading.
  child.stdin.on('error', () => {});
  child.stdin.end(server);
  const closed = Promise.withResolvers<number | null>();
  child.on('error', closed.reject);
  child.on('close', closed.resolve);
  const [stdout, stderr, code] = await Promise.all([read(child.stdout), read(child.stderr), closed.promise]);
  return { code, stdout, stderr };
}

async function read(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk;
    if (text.length > ANSWER_MAX) throw new Error('its answer is too long');
  }
  return text;
}

/** Kills the helper and what it started, and stops listening to them. */
function kill(child: ChildProcess): void {
  for (const stream of child.stdio) stream?.destroy();
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
