/**
 * The Python client's helpers for the settings of one backend. Only `updateSetting` and `getAndUpdateSetting` write to disk; the others
 * only read the environment and the secrets file.
 */
import { join } from 'node:path';
import { requireTexts } from '../base/arguments.ts';
import { SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import { isEnabled, parseBoolean } from './environment.ts';
import type { JsonObject } from './json.ts';
import type { OptionSchema } from './options.ts';
import { getPaths } from './paths.ts';
import { findKey, findOption, type OptionSource, optionNames, variablesOf } from './resolve.ts';
import { entryOf, readClientSecrets, type Secrets, updateClientSecrets } from './secrets.ts';
import { upperSnake, variableOf } from './variables.ts';

export interface SettingsOptions {
  /** Name of the instance. */
  readonly instance: string;
  /** Name of the driver's default instance. Default: `instance`. */
  readonly driver?: string;
  readonly aliases?: readonly string[];
  readonly schema?: OptionSchema;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Settings {
  /**
   * A setting from the environment, else from the backend's entry in the secrets file, else the option's default, else `fallback`.
   * `name` is a variable (`SREGISTRY_MYCLIENT_ID`) or an option (`id`). T is the stored type: text, unless updateSetting stored another.
   */
  getSetting<T = string>(name: string, fallback?: T): Promise<T | undefined>;
  /** All settings of a backend in the secrets file. Empty if there are none. */
  getSettings(backend: string): Promise<JsonObject>;
  /** The whole secrets file. */
  getSettings(): Promise<Secrets>;
  /** Like getSetting, but also writes a value from the environment to the backend's entry in the secrets file. */
  getAndUpdateSetting<T = string>(name: string, fallback?: T): Promise<T | undefined>;
  /** Writes a value (text or other JSON) to the backend's entry in the secrets file. */
  updateSetting(name: string, value: unknown): Promise<void>;
  /**
   * Throws SETTINGS unless each of `params` is set in the secrets file or the environment. Without `params`, throws unless the backend
   * has an entry in the secrets file or an option in the environment.
   */
  requireSecrets(params?: string | readonly string[]): Promise<void>;
  /**
   * The backend's own path for credentials that do not fit into the secrets file. The driver may create a file or a folder there.
   * Undefined if `SREGISTRY_DISABLE_CREDENTIAL_CACHE` or `SREGISTRY_DISABLE_CREDENTIAL_<BACKEND>` is set.
   */
  readonly credentialCache: string | undefined;
}

export function createSettings(options: SettingsOptions): Settings {
  const { instance, driver = instance, aliases = [], schema = {}, env = process.env } = options;
  const paths = getPaths(env);

  const getSettings = async (name?: string): Promise<JsonObject> => {
    if (name !== undefined) requireTexts('getSettings(client?)', { client: name });
    const secrets = await readClientSecrets(paths.secretsFile);
    return name === undefined ? secrets : (entryOf(secrets, name) ?? {});
  };

  const lookUp = async (name: string): Promise<Found | undefined> => {
    const secrets = await getSettings();
    const option = optionNamed(name, instance, schema);
    if (option !== undefined) {
      const found = findOption({ instance, driver, aliases, schema, env, secrets }, ...option);
      return found && { value: found.text, source: found.source };
    }
    const names = [name, variableOf(instance, name)];
    const variable = names.find((candidate) => env[candidate]);
    if (variable !== undefined) return { value: env[variable], source: 'environment' };
    const entry = entryOf(secrets, instance) ?? {};
    const key = findKey(entry, names);
    return key === undefined ? undefined : { value: entry[key], source: 'secrets' };
  };

  const find = async (name: string): Promise<Found | undefined> => {
    requireTexts('getSetting(name, fallback?)', { name });
    const found = await lookUp(name);
    if (typeof found?.value === 'string' && LOOKS_SECRET.test(upperSnake(name))) registerSecret(found.value);
    return found;
  };

  const updateSetting = async (name: string, value: unknown): Promise<void> => {
    requireTexts('updateSetting(name, value)', { name });
    await updateClientSecrets(instance, { [name]: value }, undefined, paths.secretsFile);
  };

  const hasAnySetting = async () => {
    if (entryOf(await getSettings(), instance) !== undefined) return true;
    return Object.entries(schema).some(([name, spec]) =>
      variablesOf({ instance, driver }, name, spec).some((variable) => env[variable]),
    );
  };

  return {
    getSettings,
    updateSetting,
    async getSetting<T = string>(name: string, fallback?: T) {
      return ((await find(name))?.value ?? fallback) as T | undefined;
    },
    async getAndUpdateSetting<T = string>(name: string, fallback?: T) {
      const found = await find(name);
      if (found?.source === 'environment') await updateSetting(name, found.value);
      return (found?.value ?? fallback) as T | undefined;
    },
    async requireSecrets(params = []) {
      const names = [params].flat();
      for (const param of names) requireTexts('requireSecrets(params?)', { 'each of params': param });
      const missing: string[] = [];
      for (const name of names) if ((await find(name)) === undefined) missing.push(name);
      if (missing.length === 0 && (names.length > 0 || (await hasAnySetting()))) return;
      throw lacks(instance, missing, paths.secretsFile);
    },
    credentialCache: isCacheDisabled(instance, env) ? undefined : join(paths.credentialsCache, instance),
  };
}

interface Found {
  readonly value: unknown;
  readonly source: OptionSource;
}

/** Names of settings that are probably secret, for settings that no schema describes. */
const LOOKS_SECRET = /TOKEN|SECRET|PASSW|(?:^|_)KEY(?:_|$)/;

function optionNamed(name: string, instance: string, schema: OptionSchema) {
  return Object.entries(schema).find(([option, spec]) =>
    optionNames(option, spec, [instance]).map(upperSnake).includes(upperSnake(name)),
  );
}

function isCacheDisabled(instance: string, env: NodeJS.ProcessEnv): boolean {
  if (isEnabled(env, 'SREGISTRY_DISABLE_CREDENTIAL_CACHE')) return true;
  const own = env[variableOf('DISABLE_CREDENTIAL', instance)];
  // In the Python instance, any value of this variable disables the cache.
  return own !== undefined && own !== '' && parseBoolean(own) !== false;
}

function lacks(instance: string, missing: readonly string[], file: string): SregistryError {
  const [first = 'KEY'] = missing;
  const message =
    missing.length === 0
      ? `The backend ${instance} has no settings in ${file}.`
      : `The backend ${instance} needs ${missing.join(', ')}.`;
  return new SregistryError('SETTINGS', message, {
    hint: `Run: sregistry backend add ${instance} ${first} VALUE`,
  });
}
