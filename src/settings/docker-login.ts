/**
 * Keeps logins for OCI registries where `docker` and `apptainer` find them, and removes them again. A login goes into Docker's
 * configuration, and into Apptainer's, which does not look into Docker's. If one of the two names a credential helper for the
 * registry, the helper keeps the password, and both files only name the helper.
 */
import { SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import { type HelperQuestion, tellHelper } from './credential-helper.ts';
import {
  apptainerFile,
  canonicalHost,
  canonicalKey,
  configFiles,
  dockerFile,
  HUB,
  HUB_KEY,
  matching,
  readConfig,
} from './docker-credentials.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { editJsonFile } from './locked-file.ts';

export interface DockerLogin {
  readonly username: string;
  readonly password: string;
}

/** The files in which docker and apptainer keep logins. */
const filesOf = (env: NodeJS.ProcessEnv) => [dockerFile(env), env.APPTAINER_AUTHFILE || apptainerFile(env)];

/** The registry's key in `auths`, and its name for helpers. */
function keyOf(host: string): string {
  const name = canonicalHost(host);
  return name === HUB ? HUB_KEY : name;
}

/**
 * Keeps the login to a registry, and returns where. Throws SETTINGS if a file is malformed or a helper fails, USAGE for a user with a
 * colon: it would be read as another user, with another password (RFC 7617).
 */
export async function storeDockerLogin(
  host: string,
  { username, password }: DockerLogin,
  env: NodeJS.ProcessEnv = process.env,
  signal?: AbortSignal,
): Promise<string[]> {
  registerSecret(password);
  if (username.includes(':'))
    throw new SregistryError('USAGE', `A user of ${host} cannot have a colon in its name: ${username}`, {
      hint: 'give the password or token by itself: --password-stdin',
    });
  const key = keyOf(host);
  const files = filesOf(env);
  const helper = await helperOf(host, files);
  if (helper !== undefined) {
    const login = JSON.stringify({ ServerURL: key, Username: username, Secret: password });
    await tellHelper(helper.name, 'store', login, { file: helper.file, env, signal });
  }
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  for (const file of files) {
    await editJsonFile(file, (before) => {
      const { auths, ...config } = withoutHost(before, host);
      if (helper === undefined) return { ...config, auths: { ...auths, [key]: { auth } } };
      // Docker writes an empty entry where the helper has the login.
      const named = helperIn(before, host) === helper.name ? {} : { [key]: helper.name };
      const credHelpers = { ...(isJsonObject(config.credHelpers) ? config.credHelpers : {}), ...named };
      const more = Object.keys(credHelpers).length > 0 ? { credHelpers } : {};
      return { ...config, ...more, auths: { ...auths, [key]: {} } };
    });
  }
  return helper === undefined ? files : [`docker-credential-${helper.name}`];
}

/** Removes the login to a registry from both files and from their helpers. Returns false if there was none. */
export async function eraseDockerLogin(
  host: string,
  env: NodeJS.ProcessEnv = process.env,
  signal?: AbortSignal,
): Promise<boolean> {
  let erased = false;
  for (const file of filesOf(env)) {
    const config = await readConfig(file);
    const isKnown = Object.keys(ownEntries(config, host)).length > 0;
    const helper = helperIn(config, host);
    const question: HelperQuestion = { file, env, signal };
    if (helper !== undefined && isKnown) await tellHelper(helper, 'erase', keyOf(host), question);
    if (!isKnown) continue;
    await editJsonFile(file, (before) => withoutHost(before, host));
    erased = true;
  }
  return erased;
}

/** The hosts of all registries that any of the tools' files has a login to. */
export async function dockerLoginHosts(env: NodeJS.ProcessEnv = process.env): Promise<string[]> {
  const hosts = new Set<string>();
  for (const file of configFiles(env)) {
    const { auths, credHelpers } = await readConfig(file);
    for (const section of [auths, credHelpers])
      for (const key of Object.keys(isJsonObject(section) ? section : {})) {
        const [host = ''] = canonicalKey(key).split('/');
        if (/^[\w.:[\]-]+$/.test(host)) hosts.add(host);
      }
  }
  return [...hosts].sort();
}

async function helperOf(
  host: string,
  files: readonly string[],
): Promise<{ name: string; file: string } | undefined> {
  for (const file of files) {
    const name = helperIn(await readConfig(file), host);
    if (name !== undefined) return { name, file };
  }
  return undefined;
}

/** The helper that a file names for a registry. */
function helperIn({ credHelpers, credsStore }: JsonObject, host: string): string | undefined {
  const [, own] = matching(credHelpers, `${canonicalHost(host)}/`)[0] ?? [];
  const name = own ?? credsStore;
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** The entries for the whole registry, in every spelling; those for a namespace of it are other logins. */
function ownEntries({ auths }: JsonObject, host: string): JsonObject {
  const isOwn = ([key]: [string, unknown]) => canonicalKey(key) === canonicalHost(host);
  return Object.fromEntries(Object.entries(isJsonObject(auths) ? auths : {}).filter(isOwn));
}

function withoutHost(config: JsonObject, host: string): JsonObject & { readonly auths: JsonObject } {
  const own = ownEntries(config, host);
  const auths = isJsonObject(config.auths) ? config.auths : {};
  const others = Object.entries(auths).filter(([key]) => !Object.hasOwn(own, key));
  return { ...config, auths: Object.fromEntries(others) };
}
