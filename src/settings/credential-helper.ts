/** Programs called `docker-credential-<name>` that keep logins (github.com/docker/docker-credential-helpers). */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isJsonObject, type JsonObject } from './json.ts';
import { warnOnce } from './warn-once.ts';

/** A helper that waits for a person (a locked keychain) must not hold up a mount. */
const TIME_LIMIT_MS = 10_000;

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

/**
 * What the helper named in `file` knows for `server`; undefined where it knows nothing, or, with a warning, does not
 * work.
 */
export async function askHelper(
  name: unknown,
  server: string,
  file: string,
  env: NodeJS.ProcessEnv,
): Promise<DockerCredentials | undefined> {
  // The name becomes that of a program: no path may be in it.
  if (typeof name !== 'string' || !/^[\w.-]+$/.test(name)) {
    warnOnce(`${file} names a credential helper that cannot be: ${JSON.stringify(name)}`);
    return undefined;
  }
  const program = `docker-credential-${name}`;
  try {
    return fromAnswer(await run(program, server, env), program);
  } catch (error) {
    const failure = error as Partial<HelperFailure>;
    if (NOT_FOUND.test(`${failure.stdout}${failure.stderr}`)) return undefined;
    warnOnce(`${program}, which ${file} names, gave no login for ${server}: ${reasonOf(failure)}`);
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

/** What execFile's error says beside its message. */
interface HelperFailure extends Error {
  stdout: string;
  stderr: string;
  killed: boolean;
  code: string | number;
}

function reasonOf({ killed, code, stdout, message }: Partial<HelperFailure>): string {
  if (killed) return `it took longer than ${TIME_LIMIT_MS / 1000} s`;
  if (code === 'ENOENT') return 'it is not installed';
  return stdout?.trim() || message || 'it failed';
}

async function run(program: string, server: string, env: NodeJS.ProcessEnv): Promise<string> {
  const running = promisify(execFile)(program, ['get'], {
    env,
    timeout: TIME_LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  // A helper may end without reading.
  running.child.stdin?.on('error', () => {});
  running.child.stdin?.end(server);
  return (await running).stdout;
}
