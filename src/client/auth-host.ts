/**
 * Logs in to an OCI registry by its host (`ghcr.io`), without a backend of its own. Tries the login, and keeps it where docker
 * and apptainer find it, too.
 */
import type { LoginUi } from '../backends/backend.ts';
import { isHost } from '../backends/oci/reference.ts';
import { drivers } from '../backends/registry.ts';
import { describeError, SregistryError } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { findDockerCredentials } from '../settings/docker-credentials.ts';
import { dockerLoginHosts, eraseDockerLogin, storeDockerLogin } from '../settings/docker-login.ts';
import { instanceNamed } from '../settings/instances.ts';
import type { GivenLogin, LoginStatus } from './auth.ts';
import { refusal } from './refusal.ts';
import { createBackend, type Session } from './session.ts';

/** Does this name a registry by its host? A backend of the same name comes first. */
export function isRegistryHost(name: string, { secrets }: Session): boolean {
  if (!isHost(name)) return false;
  try {
    instanceNamed(name, { drivers, secrets });
    return false;
  } catch {
    return true;
  }
}

/**
 * Tries a login to a registry, keeps it, and returns where. Keeps nothing and throws UNAUTHORIZED if the registry refuses it.
 */
export async function loginToHost(
  host: string,
  ui: LoginUi,
  session: Session,
  { given = {}, signal }: { readonly given?: GivenLogin; readonly signal?: AbortSignal } = {},
): Promise<string[]> {
  const ask = async (question: string, secret: boolean) =>
    ui.isInteractive ? ui.ask(question, { secret }) : '';
  const username = given.user ?? (await ask(`User at ${host}:`, false));
  const password = given.secret ?? (await ask('Password or token:', true));
  if (username === '' || password === '')
    throw new SregistryError('USAGE', `A login to ${host} is a user and a password or token`, {
      hint: 'Run it in a terminal, or give --username and --password-stdin',
    });
  await check(host, session, { username, password }, signal).catch((error: unknown) => {
    throw refusal(host, error, username);
  });
  const places = await storeDockerLogin(host, { username, password }, session.env, signal);
  const found = await findDockerCredentials(host, session.env, '', signal);
  if (found !== undefined && !('password' in found && found.password === password))
    bot.warning(`${found.source} still takes precedence over this login`);
  return places;
}

/** Removes the login to a registry from the configurations of docker and apptainer. Returns false if there was none. */
export async function logoutFromHost(host: string, { env }: Session, signal?: AbortSignal): Promise<boolean> {
  const erased = await eraseDockerLogin(host, env, signal);
  const left = await findDockerCredentials(host, env, '', signal);
  if (left !== undefined) bot.warning(`There is another login to ${host}: ${left.source}`);
  return erased;
}

/** The hosts that docker, apptainer or podman have a login to. */
export const hostsWithLogin = ({ env }: Session) => dockerLoginHosts(env);

/** The login to a registry, where it comes from, and whether the registry accepts it. */
export async function hostStatus(host: string, session: Session, signal?: AbortSignal): Promise<LoginStatus> {
  const found = await findDockerCredentials(host, session.env, '', signal);
  const status = {
    backend: host,
    driver: 'oci',
    target: `https://${host}`,
    credentials: found === undefined ? {} : { login: found.kind },
    places: found === undefined ? {} : { login: found.source },
  };
  try {
    const target = await check(host, session, undefined, signal);
    return { ...status, target, ok: true };
  } catch (error) {
    return { ...status, ok: false, error: describeError(error) };
  }
}

/** Asks the registry, with this login or else the one found for it. Returns the registry's address. */
async function check(
  host: string,
  { env, secrets }: Session,
  login: { readonly username: string; readonly password: string } | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const { driver } = instanceNamed('oci', { drivers, secrets: {} });
  const entry = { driver: driver.name, base: host, ...login };
  const backend = await createBackend(
    { name: host, driver },
    { env, secrets: { ...secrets, [host]: entry } },
  );
  try {
    await backend.check?.(signal);
    return backend.target;
  } finally {
    await backend.close?.();
  }
}
