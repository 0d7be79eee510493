/**
 * Finds logins for OCI registries that other tools made: `apptainer registry login`, `docker login`, `podman login` and credential
 * helpers.
 *
 * It searches the files below in order. In each file, it tries the helper of the longest matching key of `credHelpers`, then
 * that of `credsStore`, then the longest matching key of `auths`. Last, it tries user and password in the environment, which
 * apply to every registry.
 *
 *   1. `SREGISTRY_DOCKERHUB_SECRETS`, as in the Python client
 *   2. `APPTAINER_AUTHFILE`, `SINGULARITY_AUTHFILE`
 *   3. `docker-config.json` in `~/.apptainer` (or `APPTAINER_CONFIGDIR`), then in `~/.singularity`
 *   4. `REGISTRY_AUTH_FILE`, else podman's `$XDG_RUNTIME_DIR/containers/auth.json`
 *   5. `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`
 *   6. `APPTAINER_DOCKER_USERNAME` and `_PASSWORD`, then `SINGULARITY_DOCKER_USERNAME` and `_PASSWORD`
 *
 * Formats: docker/cli's config file (config.json, "Credential store options"), containers-auth.json(5).
 */
import { join } from 'node:path';
import { describeError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import { askHelper, type DockerCredentials, type HelperQuestion } from './credential-helper.ts';
import { isJsonObject, type JsonObject, readJsonObject } from './json.ts';
import { getPaths } from './paths.ts';
import { warnOnce } from './warn-once.ts';

export type { DockerCredentials };

/**
 * The login for a registry's `host` (with its port, if any); undefined if none is found. `repository` is the path of the image,
 * for logins that apply to one namespace. An unreadable or malformed file, and a helper that is missing, fails or takes longer
 * than 10 s, cause a warning, and the search continues. When `signal` fires, a running helper is killed and the signal's reason
 * thrown.
 */
export async function findDockerCredentials(
  host: string,
  env: NodeJS.ProcessEnv = process.env,
  repository = '',
  signal?: AbortSignal,
): Promise<DockerCredentials | undefined> {
  const wanted = `${canonicalHost(host)}/${repository}`;
  for (const file of configFiles(env)) {
    const found = await findInFile(await readConfig(file), wanted, { file, env, signal });
    if (found !== undefined) return registered(found);
  }
  const found = inEnvironment(env);
  return found === undefined ? undefined : registered(found);
}

export async function readConfig(file: string): Promise<JsonObject> {
  try {
    return (await readJsonObject(file)) ?? {};
  } catch (error) {
    warnOnce(`${describeError(error)} sregistry does not use its logins.`);
    return {};
  }
}

/** Where `docker login` keeps logins. */
export function dockerFile(env: NodeJS.ProcessEnv): string {
  return join(env.DOCKER_CONFIG || join(getPaths(env).home, '.docker'), 'config.json');
}

/** Where `apptainer registry login` keeps logins. */
export function apptainerFile(env: NodeJS.ProcessEnv): string {
  return join(env.APPTAINER_CONFIGDIR || join(getPaths(env).home, '.apptainer'), 'docker-config.json');
}

export function configFiles(env: NodeJS.ProcessEnv): string[] {
  const { home } = getPaths(env);
  const podman = env.XDG_RUNTIME_DIR && join(env.XDG_RUNTIME_DIR, 'containers/auth.json');
  return [
    env.SREGISTRY_DOCKERHUB_SECRETS,
    env.APPTAINER_AUTHFILE,
    env.SINGULARITY_AUTHFILE,
    apptainerFile(env),
    join(env.SINGULARITY_CONFIGDIR || join(home, '.singularity'), 'docker-config.json'),
    env.REGISTRY_AUTH_FILE || podman,
    dockerFile(env),
  ].filter((file): file is string => Boolean(file));
}

export const HUB = 'docker.io';
const HUB_HOSTS = [HUB, 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'];

/** Docker's key for Docker Hub in `auths` and for helpers. */
export const HUB_KEY = 'https://index.docker.io/v1/';

export function canonicalHost(host: string): string {
  const name = host.toLowerCase();
  return HUB_HOSTS.includes(name) ? HUB : name;
}

/**
 * Converts a key as tools write it (`quay.io/org`, `https://quay.io`, `https://index.docker.io/v1/`) to one form: `quay.io/org`.
 */
export function canonicalKey(key: string): string {
  const [host = '', ...path] = key.replace(/^https?:\/\//, '').split('/');
  const namespace = path.filter((part) => part !== '').join('/');
  return [canonicalHost(host), ...(/^(?:v[12])?$/.test(namespace) ? [] : [namespace])].join('/');
}

/** The entries of `section` whose key applies to `wanted` (host and path), the longest key first. */
export function matching(section: unknown, wanted: string): [key: string, value: unknown][] {
  if (!isJsonObject(section)) return [];
  return Object.entries(section)
    .filter(([key]) => wanted === canonicalKey(key) || wanted.startsWith(`${canonicalKey(key)}/`))
    .sort(([a], [b]) => canonicalKey(b).length - canonicalKey(a).length);
}

async function findInFile(
  config: JsonObject,
  wanted: string,
  question: HelperQuestion,
): Promise<DockerCredentials | undefined> {
  const host = wanted.slice(0, wanted.indexOf('/'));
  const helpers = matching(config.credHelpers, wanted).slice(0, 1);
  if (config.credsStore) helpers.push([host, config.credsStore]);
  for (const [key, helper] of helpers) {
    const found = await askHelper(helper, host === HUB ? HUB_KEY : key, question);
    if (found !== undefined) return found;
  }
  for (const [key, login] of matching(config.auths, wanted)) {
    const found = fromEntry(login, `"${key}" in ${question.file}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A login in `auths`. Docker writes an empty entry if it keeps the login elsewhere. */
function fromEntry(entry: unknown, source: string): DockerCredentials | undefined {
  if (!isJsonObject(entry)) return undefined;
  const { identitytoken, registrytoken, auth, username, password } = entry;
  const from = { source, kind: 'file' } as const;
  if (isText(registrytoken)) return { registryToken: registrytoken, ...from };
  if (isText(identitytoken)) return { identityToken: identitytoken, ...from };
  if (isText(auth)) return fromAuth(auth, source);
  if (isText(username) && isText(password)) return { username, password, ...from };
  return undefined;
}

/** `auth` is base64 of `user:password`; old versions of Docker padded it with zero bytes. */
function fromAuth(auth: string, source: string): DockerCredentials | undefined {
  registerSecret(auth);
  const [, username, password] = /^([^:]+):(.*?)\0*$/s.exec(Buffer.from(auth, 'base64').toString()) ?? [];
  if (username !== undefined && password !== undefined) return { username, password, source, kind: 'file' };
  warnOnce(`The login ${source} is malformed: log in to that registry again`);
  return undefined;
}

function inEnvironment(env: NodeJS.ProcessEnv): DockerCredentials | undefined {
  for (const prefix of ['APPTAINER_DOCKER', 'SINGULARITY_DOCKER']) {
    const username = env[`${prefix}_USERNAME`];
    const password = env[`${prefix}_PASSWORD`];
    if (username && password)
      return { username, password, source: `${prefix}_USERNAME and _PASSWORD`, kind: 'environment' };
  }
  return undefined;
}

function registered(found: DockerCredentials): DockerCredentials {
  if ('password' in found) registerSecret(found.password);
  else registerSecret('identityToken' in found ? found.identityToken : found.registryToken);
  return found;
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
