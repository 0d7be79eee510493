/**
 * Runs credential helpers: programs `docker-credential-<name>` that keep logins (github.com/docker/docker-credential-helpers). Each
 * runs in its own process group, so that its child processes can be killed with it.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { untilAborted } from '../base/abort.ts';
import { SregistryError, systemCode } from '../base/errors.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { warnOnce } from './warn-once.ts';

/** A helper that waits for a person (a locked keychain) must not block a mount for longer. */
const TIME_LIMIT_MS = 10_000;
/** Longest answer in characters; logins are short. */
const ANSWER_MAX = 1024 * 1024;

/** The name becomes part of a program's name, so it must not contain a path. */
const HELPER_NAME = /^[\w.-]+$/;

/** What helpers print before exit code 1 if they have no login. This is not an error. */
const NOT_FOUND = /credentials not found/i;

/** The user name that marks the secret as an identity token. */
const TOKEN_USER = '<token>';

/** A login; `source` tells people where it was found, `kind` what that is. */
export type DockerCredentials = {
  readonly source: string;
  readonly kind: 'file' | 'helper' | 'environment';
} & (
  | { readonly username: string; readonly password: string }
  /** An OAuth 2 refresh token, to exchange for an access token. */
  | { readonly identityToken: string }
  /** A bearer token, to send unchanged. */
  | { readonly registryToken: string }
);

export interface HelperQuestion {
  /** The file that names the helper, for messages. */
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The login for `server` from the helper `name`; undefined if it has none. If the helper fails or takes longer than 10 s, warns and
 * returns undefined. When the signal fires, kills the helper and throws the signal's reason.
 */
export async function askHelper(
  name: unknown,
  server: string,
  { file, env, signal }: HelperQuestion,
): Promise<DockerCredentials | undefined> {
  if (typeof name !== 'string' || !HELPER_NAME.test(name)) {
    warnOnce(`${file} names a credential helper with an invalid name: ${JSON.stringify(name)}`);
    return undefined;
  }
  const program = `docker-credential-${name}`;
  try {
    const { code, stdout, stderr } = await run(program, 'get', server, env, signal);
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

/**
 * Tells the helper `name` to `store` a login (as JSON) or to `erase` that of a server. Throws SETTINGS if it does not do so.
 */
export async function tellHelper(
  name: string,
  verb: 'store' | 'erase',
  input: string,
  { file, env, signal }: HelperQuestion,
): Promise<void> {
  const program = `docker-credential-${name}`;
  const failed = (reason: string, cause?: unknown) =>
    new SregistryError('SETTINGS', `${program}, which ${file} names, cannot ${verb} the login: ${reason}`, {
      hint: `install or repair it, or take it out of ${file}`,
      cause,
    });
  if (!HELPER_NAME.test(name)) throw failed('its name is invalid');
  const { code, stdout, stderr } = await run(program, verb, input, env, signal).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw failed(systemCode(error) === 'ENOENT' ? 'it is not installed' : (error as Error).message, error);
  });
  if (code === 0 || (verb === 'erase' && NOT_FOUND.test(stdout + stderr))) return;
  throw failed(stdout.trim() || stderr.trim() || 'it failed');
}

function fromAnswer(text: string, source: string): DockerCredentials | undefined {
  const { Username: username, Secret: secret } = parseAnswer(text);
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  const from = { source, kind: 'helper' } as const;
  return username === TOKEN_USER
    ? { identityToken: secret, ...from }
    : { username, password: secret, ...from };
}

function parseAnswer(text: string): JsonObject {
  try {
    const answer: unknown = JSON.parse(text);
    if (isJsonObject(answer)) return answer;
  } catch {
    // Drop JSON.parse's message: it quotes the text, which holds the secret.
  }
  throw new Error('its answer is malformed');
}

interface Outcome {
  /** Exit code; null if a signal ended the helper. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  program: string,
  verb: string,
  input: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<Outcome> {
  signal?.throwIfAborted();
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new Error(`it took longer than ${TIME_LIMIT_MS / 1000} s`)),
    TIME_LIMIT_MS,
  );
  const child = spawn(program, [verb], { env, detached: true });
  try {
    return await untilAborted(
      outcomeOf(child, input),
      signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    );
  } catch (error) {
    kill(child);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function outcomeOf(child: ChildProcessWithoutNullStreams, input: string): Promise<Outcome> {
  // A helper may exit without reading its input.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
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

/** Kills the helper and its child processes, and closes their streams. */
function kill(child: ChildProcess): void {
  for (const stream of child.stdio) stream?.destroy();
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
