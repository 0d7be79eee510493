/**
 * Logs in to a backend. Its driver decides what a login is; by default, a login is the options that are credentials. The login
 * is tried, and kept in the secrets file.
 */
import type { Backend, LoginContext, LoginUi, OptionChanges } from '../backends/backend.ts';
import { type DriverEntry, drivers } from '../backends/registry.ts';
import { describeError, isError, SregistryError } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { type DockerCredentials, findDockerCredentials } from '../settings/docker-credentials.ts';
import { defaultInstanceOf, type Instance, instanceNamed, resolveInstance } from '../settings/instances.ts';
import type { OptionSpec } from '../settings/options.ts';
import { type OptionSource, variablesOf } from '../settings/resolve.ts';
import {
  deleteClient,
  entryOf,
  readClientSecrets,
  removeClientSecret,
  withEntry,
} from '../settings/secrets.ts';
import { writeInstance } from '../settings/write-instance.ts';
import { refusal } from './refusal.ts';
import { createBackend, type Session } from './session.ts';

export interface Credential {
  /** Name of the option. */
  readonly name: string;
  readonly spec: OptionSpec;
  readonly role: 'user' | 'secret' | 'required';
  /** Where it is set now. */
  readonly source: OptionSource | undefined;
  /** The same in words. */
  readonly place: string | undefined;
}

export interface LoginStatus {
  readonly backend: string;
  readonly driver: string;
  /** Where it points; undefined if it lacks options. */
  readonly target: string | undefined;
  /** Names of the credentials that are set, and where. */
  readonly credentials: Readonly<Record<string, OptionSource | DockerCredentials['kind']>>;
  /** The same in words: a variable, a file, a helper. */
  readonly places: Readonly<Record<string, string>>;
  /** Does the service answer and accept them? */
  readonly ok: boolean;
  readonly error?: string;
}

/** Names of the drivers that use the logins of docker and apptainer. */
const OCI_DRIVERS = ['oci', 'aws'];
const USER = /^(?:user(?:name)?|accessKeyId)$/i;

const instanceOf = (name: string, { secrets }: Session): Instance<DriverEntry> =>
  instanceNamed(name, { drivers, secrets });

/** The options that make up a login to that backend, the user first. Empty if it has no login. */
export function credentialsOf(name: string, session: Session): Credential[] {
  const instance = instanceOf(name, session);
  const { sources, places } = resolveInstance(instance, session);
  const credentials: Credential[] = [];
  for (const [option, spec] of Object.entries<OptionSpec>(instance.driver.options)) {
    const role = roleOf(option, spec);
    if (role !== undefined)
      credentials.push({ name: option, spec, role, source: sources[option], place: places[option] });
  }
  const order = ['required', 'user', 'secret'];
  return credentials.sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role));
}

function roleOf(option: string, spec: OptionSpec): Credential['role'] | undefined {
  if (spec.secret) return 'secret';
  if (USER.test(option)) return 'user';
  return spec.required ? 'required' : undefined;
}

/** A user and a secret that the caller knows already. */
export interface GivenLogin {
  readonly user?: string | undefined;
  readonly secret?: string | undefined;
}

/**
 * Logs in to a backend with its driver's own login, else by asking for its credentials, and keeps the login as {@link login}
 * does. Throws UNSUPPORTED if the backend has no login, USAGE if something is missing and there is no terminal to ask on.
 */
export async function loginWith(
  name: string,
  ui: LoginUi,
  session: Session,
  { given = {}, signal }: { readonly given?: GivenLogin; readonly signal?: AbortSignal } = {},
): Promise<boolean> {
  const instance = instanceOf(name, session);
  const driver = await instance.driver.load();
  const isGiven = given.user !== undefined || given.secret !== undefined;
  const values =
    driver.login === undefined || isGiven
      ? await askForCredentials(name, credentialsOf(name, session), given, ui)
      : await driver.login(contextOf(instance, session, signal), ui);
  return login(name, values, session, signal);
}

function contextOf(
  instance: Instance<DriverEntry>,
  session: Session,
  signal: AbortSignal | undefined,
): LoginContext {
  const { values } = resolveInstance(instance, session);
  return { name: instance.name, options: values, env: session.env, signal };
}

/** The given values, and a person's answers for the others if there is a terminal. */
async function askForCredentials(
  backend: string,
  credentials: readonly Credential[],
  given: GivenLogin,
  ui: LoginUi,
): Promise<OptionChanges> {
  if (!credentials.some(({ role }) => role !== 'required'))
    throw new SregistryError('UNSUPPORTED', `${backend} needs no login`);
  const values: Record<string, string> = {};
  const pending = { ...given };
  for (const { name, spec, role, source } of credentials) {
    const value = role === 'required' ? undefined : pending[role];
    if (value !== undefined && role !== 'required') {
      values[name] = value;
      // A driver may take several kinds of secrets. The first one is meant.
      pending[role] = undefined;
    } else if (ui.isInteractive && given.secret === undefined && isAsked({ spec, role, source })) {
      const answer = await ui.ask(`${name} (${spec.describe}):`, { secret: role === 'secret' });
      if (answer !== '') values[name] = answer;
      else if (spec.required && source === undefined)
        throw new SregistryError('USAGE', `Nothing was entered, and ${backend} needs ${name}`);
    }
  }
  if (pending.user !== undefined) throw new SregistryError('USAGE', `${backend} has no option for a user`);
  if (Object.keys(values).length > 0) return values;
  const hint = 'Run it in a terminal, or give --username and --password-stdin';
  throw new SregistryError('USAGE', `No credentials for ${backend} were given`, {
    hint: ui.isInteractive ? undefined : hint,
  });
}

/** A user that has a default, or an address that is set, is right as it is. */
function isAsked({ spec, role, source }: Omit<Credential, 'name' | 'place'>): boolean {
  if (role === 'secret') return spec.asked !== false;
  return source === undefined || (role === 'user' && source !== 'default');
}

/**
 * Tries the values and keeps them if the service accepts them. Returns whether the service was asked: some backends cannot.
 * Keeps nothing and throws the service's error, such as UNAUTHORIZED, if it refuses. Ignores variables that set other values of
 * the same options, but warns that they take precedence in use.
 */
export async function login(
  name: string,
  values: Readonly<Record<string, string>>,
  session: Session,
  signal?: AbortSignal,
): Promise<boolean> {
  const instance = instanceOf(name, session);
  const secrets = withEntry(session.secrets, instance.name, values);
  const variables = overriding(instance, values, session.env);
  const backend = await createBackend(instance, { env: without(session.env, variables), secrets });
  try {
    await backend.check?.(signal);
  } catch (error) {
    throw refusal(instance.name, error);
  } finally {
    await backend.close?.();
  }
  const { name: backendName, driver } = instance;
  const request = { name: backendName, driver, drivers, pairs: values, force: true, env: session.env };
  await writeInstance(request, session.paths.secretsFile);
  if (variables.length > 0)
    bot.warning(
      `${variables.join(', ')} in the environment still takes precedence over this login. Unset it to use the login.`,
    );
  return backend.check !== undefined;
}

/** The variables that set any of these options to another value. */
function overriding(
  { name, driver }: Instance<DriverEntry>,
  values: Readonly<Record<string, string>>,
  env: NodeJS.ProcessEnv,
): string[] {
  const names = { instance: name, driver: defaultInstanceOf(driver) };
  return Object.entries<OptionSpec>(driver.options).flatMap(([option, spec]) =>
    values[option] === undefined
      ? []
      : variablesOf(names, option, spec).filter(
          (variable) => env[variable] && env[variable] !== values[option],
        ),
  );
}

function without(env: NodeJS.ProcessEnv, variables: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([variable]) => !variables.includes(variable)));
}

/**
 * Removes the user and the secrets of a backend from the secrets file, and revokes the login if its driver can. Returns false
 * if there were none.
 */
export async function logout(name: string, session: Session, signal?: AbortSignal): Promise<boolean> {
  const { secretsFile } = session.paths;
  const instance = instanceOf(name, session);
  const { name: wanted } = instance;
  await revoke(instance, session, signal);
  const options = credentialsOf(name, session).filter(({ role }) => role !== 'required');
  let removed = false;
  for (const key of entriesOf(wanted, session)) {
    for (const { name: option, spec } of options) {
      // The Python client stores some under the name of the variable.
      for (const stored of [option, ...[spec.env ?? []].flat()])
        if (await removeClientSecret(key, stored, secretsFile)) removed = true;
    }
    const left = entryOf(await readClientSecrets(secretsFile), key);
    if (removed && left !== undefined && Object.keys(left).length === 0) await deleteClient(key, secretsFile);
  }
  return removed;
}

/** Revokes the login at the service. Only warns if that fails, as the login is forgotten here in any case. */
async function revoke(
  instance: Instance<DriverEntry>,
  session: Session,
  signal: AbortSignal | undefined,
): Promise<void> {
  const driver = await instance.driver.load();
  try {
    await driver.logout?.(contextOf(instance, session, signal));
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    bot.warning(`${instance.name} may still accept this login: ${describeError(error)}`);
  }
}

/** The keys of the secrets file that configure an instance: its name, and aliases of a default instance. */
function entriesOf(name: string, session: Session): string[] {
  return Object.keys(session.secrets).filter((key) => {
    if (entryOf(session.secrets, key) === undefined) return false;
    try {
      return instanceOf(key, session).name === name;
    } catch {
      return false;
    }
  });
}

/** The credentials of a backend, and whether its service accepts them. */
export async function loginStatus(
  name: string,
  session: Session,
  signal?: AbortSignal,
): Promise<LoginStatus> {
  const { name: backend, driver } = instanceOf(name, session);
  const set = credentialsOf(name, session).filter(
    ({ role, source }) => role !== 'required' && source !== undefined && source !== 'default',
  );
  const status = {
    backend,
    driver: driver.name,
    target: undefined,
    credentials: Object.fromEntries(set.map(({ name: option, source }) => [option, source])),
    places: Object.fromEntries(set.map(({ name: option, place = '' }) => [option, place])),
  } as LoginStatus;
  try {
    const service = await session.backend(name);
    const found = set.length > 0 ? undefined : await dockerLogin(service, driver, session, signal);
    const login = found && { credentials: { login: found.kind }, places: { login: found.source } };
    await service.check?.(signal);
    return { ...status, ...login, target: service.target, ok: true };
  } catch (error) {
    return { ...status, ok: false, error: describeError(error) };
  }
}

/** The login that a backend of an OCI registry takes from docker's and apptainer's, if it has none of its own. */
async function dockerLogin(
  { target }: Backend,
  driver: DriverEntry,
  { env }: Session,
  signal: AbortSignal | undefined,
): Promise<DockerCredentials | undefined> {
  const host = OCI_DRIVERS.includes(driver.name) ? URL.parse(target)?.host : undefined;
  return host === undefined ? undefined : findDockerCredentials(host, env, '', signal);
}
