/** Logging in to a backend: which of its options are credentials, trying them, keeping them in the secrets file. */
import { type DriverEntry, drivers } from '../backends/registry.ts';
import { describeError } from '../base/errors.ts';
import { type Instance, instanceNamed, resolveInstance } from '../settings/instances.ts';
import type { OptionSpec } from '../settings/options.ts';
import type { OptionSource } from '../settings/resolve.ts';
import {
  deleteClient,
  entryOf,
  readClientSecrets,
  removeClientSecret,
  withEntry,
} from '../settings/secrets.ts';
import { writeInstance } from '../settings/write-instance.ts';
import { createBackend, type Session } from './session.ts';

export interface Credential {
  /** Name of the option. */
  readonly name: string;
  readonly spec: OptionSpec;
  readonly role: 'user' | 'secret' | 'required';
  /** Where it is set now. */
  readonly source: OptionSource | undefined;
}

export interface LoginStatus {
  readonly backend: string;
  readonly driver: string;
  /** Where it points; undefined where it lacks options. */
  readonly target: string | undefined;
  /** Names of the credentials that are set, and where. */
  readonly credentials: Readonly<Record<string, OptionSource>>;
  /** Does the service answer and accept them? */
  readonly ok: boolean;
  readonly error?: string;
}

const USER = /^user(?:name)?$/i;

const instanceOf = (name: string, { secrets }: Session): Instance<DriverEntry> =>
  instanceNamed(name, { drivers, secrets });

/** The options that a login to that backend consists of, the user first. Empty where there is nothing to log in to. */
export function credentialsOf(name: string, session: Session): Credential[] {
  const instance = instanceOf(name, session);
  const { sources } = resolveInstance(instance, session);
  const credentials: Credential[] = [];
  for (const [option, spec] of Object.entries<OptionSpec>(instance.driver.options)) {
    const role = roleOf(option, spec);
    if (role !== undefined) credentials.push({ name: option, spec, role, source: sources[option] });
  }
  const order = ['required', 'user', 'secret'];
  return credentials.sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role));
}

function roleOf(option: string, spec: OptionSpec): Credential['role'] | undefined {
  if (spec.secret) return 'secret';
  if (USER.test(option)) return 'user';
  return spec.required ? 'required' : undefined;
}

/**
 * Tries the values and keeps them if the service accepts them. Tells whether it was asked: not every backend can be.
 * Errors of the service, such as UNAUTHORIZED; then nothing is kept.
 */
export async function login(
  name: string,
  values: Readonly<Record<string, string>>,
  session: Session,
  signal?: AbortSignal,
): Promise<boolean> {
  const instance = instanceOf(name, session);
  const secrets = withEntry(session.secrets, instance.name, values);
  const backend = await createBackend(instance, { env: session.env, secrets });
  try {
    await backend.check?.(signal);
  } finally {
    await backend.close?.();
  }
  const { name: backendName, driver } = instance;
  const request = { name: backendName, driver, drivers, pairs: values, force: true, env: session.env };
  await writeInstance(request, session.paths.secretsFile);
  return backend.check !== undefined;
}

/** Takes the user and the secrets of a backend out of the secrets file. False where there were none. */
export async function logout(name: string, session: Session): Promise<boolean> {
  const { secretsFile } = session.paths;
  const { name: wanted } = instanceOf(name, session);
  const options = credentialsOf(name, session).filter(({ role }) => role !== 'required');
  let removed = false;
  for (const key of entriesOf(wanted, session)) {
    for (const option of options) {
      if (await removeClientSecret(key, option.name, secretsFile)) removed = true;
    }
    const left = entryOf(await readClientSecrets(secretsFile), key);
    if (removed && left !== undefined && Object.keys(left).length === 0) await deleteClient(key, secretsFile);
  }
  return removed;
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

/** Which credentials a backend has, and what its service says to them. */
export async function loginStatus(
  name: string,
  session: Session,
  signal?: AbortSignal,
): Promise<LoginStatus> {
  const { name: backend, driver } = instanceOf(name, session);
  const set = credentialsOf(name, session).flatMap(({ name: option, role, source }) =>
    source === undefined || role === 'required' ? [] : [[option, source] as const],
  );
  const status = { backend, driver: driver.name, target: undefined, credentials: Object.fromEntries(set) };
  try {
    const service = await session.backend(name);
    await service.check?.(signal);
    return { ...status, target: service.target, ok: true };
  } catch (error) {
    return { ...status, ok: false, error: describeError(error) };
  }
}
