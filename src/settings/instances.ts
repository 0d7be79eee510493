/**
 * Finds the configured backends. Each driver has a default instance with its name. Further instances are entries of the secrets file
 * that name their driver: `{ "lab": { "driver": "oci", "base": "http://localhost:5000" } }`.
 */
import { SregistryError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { isJsonObject } from './json.ts';
import { nearestOption, unknownOption } from './option-value.ts';
import type { OptionSchema } from './options.ts';
import { optionNames, type ResolvedOptions, resolveOptions, variablesOf } from './resolve.ts';
import { ACTIVE, activeBackend, entryOf, type Secrets } from './secrets.ts';
import { upperSnake } from './variables.ts';

/** What the settings need to know about a driver. */
export interface DriverDeclaration<S extends OptionSchema = OptionSchema> {
  readonly name: string;
  /** Name of the default instance, if it differs from the driver's. */
  readonly defaultInstance?: string;
  readonly aliases: readonly string[];
  readonly options: S;
}

export interface Instance<D extends DriverDeclaration = DriverDeclaration> {
  readonly name: string;
  readonly driver: D;
}

export interface ConfiguredInstance {
  readonly name: string;
  /** Name of the driver. */
  readonly driver: string;
  /**
   * Why a mount shows it: it needs no configuration, has an entry in the secrets file, is configured in the environment, or is
   * the active backend.
   */
  readonly reason: 'always' | 'secrets' | 'environment' | 'active';
}

export interface Surroundings<D extends DriverDeclaration = DriverDeclaration> {
  readonly drivers: readonly D[];
  readonly env: NodeJS.ProcessEnv;
  readonly secrets: Secrets;
}

export interface ConfiguredInstances {
  readonly instances: readonly ConfiguredInstance[];
  /** An error for each entry without a known driver. The other entries still work. */
  readonly problems: readonly SregistryError[];
}

/** The driver that needs no configuration. */
const ALWAYS = 'local';

/** Letters, digits and `. _ -`, because an instance's name is also a folder and a URI scheme. */
export const INSTANCE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export const defaultInstanceOf = (driver: DriverDeclaration) => driver.defaultInstance ?? driver.name;

/**
 * The backends that a mount shows by default: `local`, those with an entry in the secrets file, default instances whose required
 * options (at least one) are all set in the environment, or if none is required, one that suffices, and the active backend.
 */
export function configuredInstances(surroundings: Surroundings): ConfiguredInstances {
  const { drivers, env, secrets } = surroundings;
  const instances = new Map<string, ConfiguredInstance>();
  const problems: SregistryError[] = [];
  const add = ({ name, driver }: Instance, reason: ConfiguredInstance['reason']) => {
    if (!instances.has(name)) instances.set(name, { name, driver: driver.name, reason });
  };
  const addNamed = (name: string, reason: ConfiguredInstance['reason']) => {
    try {
      add(instanceNamed(name, surroundings), reason);
    } catch (error) {
      problems.push(error as SregistryError);
    }
  };

  for (const driver of drivers) {
    if (driver.name === ALWAYS) add({ name: defaultInstanceOf(driver), driver }, 'always');
  }
  for (const [key, value] of Object.entries(secrets)) {
    if (isJsonObject(value)) addNamed(key, 'secrets');
  }
  for (const driver of drivers) {
    const name = defaultInstanceOf(driver);
    if (name === 'registry' && entryOf(secrets, name) !== undefined) add({ name, driver }, 'secrets');
    if (isConfiguredByEnvironment(driver, env)) add({ name, driver }, 'environment');
  }
  const active = env[ACTIVE] || activeBackend(secrets);
  if (active !== undefined) addNamed(active, 'active');
  return { instances: [...instances.values()], problems };
}

function isConfiguredByEnvironment(driver: DriverDeclaration, env: NodeJS.ProcessEnv): boolean {
  const options = Object.entries(driver.options);
  const required = options.filter(([, spec]) => spec.required);
  const names = { instance: defaultInstanceOf(driver), driver: defaultInstanceOf(driver) };
  const isSet = ([name, spec]: (typeof options)[number]) =>
    variablesOf(names, name, spec).some((variable) => env[variable]);
  if (required.length > 0) return required.every(isSet);
  return options.some((option) => option[1].suffices && isSet(option));
}

/**
 * The instance with this name: an entry of the secrets file, or the default instance of the driver with this name or alias. Case does
 * not matter, and `_` equals `-`. Throws SETTINGS if there is none, or if the name is not a valid folder name.
 */
export function instanceNamed<D extends DriverDeclaration>(
  name: string,
  { drivers, secrets }: Pick<Surroundings<D>, 'drivers' | 'secrets'>,
): Instance<D> {
  const stated = entryOf(secrets, name)?.driver;
  const wanted = typeof stated === 'string' ? stated : name;
  const driver = driverNamed(wanted, drivers);
  if (driver === undefined) throw unknownDriver(name, stated, { drivers, secrets });
  const isDefault = stated === undefined || namesOf(driver).includes(folded(name));
  if (isDefault) return { name: defaultInstanceOf(driver), driver };
  if (INSTANCE_NAME.test(name)) return { name, driver };
  throw new SregistryError('SETTINGS', `A backend cannot be called "${name}".`, {
    hint: 'Rename it in the secrets file: use letters, digits and . _ -',
  });
}

/** The driver with this name, default instance or alias. */
export function driverNamed<D extends DriverDeclaration>(name: string, drivers: readonly D[]): D | undefined {
  return drivers.find((driver) => namesOf(driver).includes(folded(name)));
}

/** All names of a driver's default instance. */
export function namesOf(driver: DriverDeclaration): string[] {
  return [...new Set([defaultInstanceOf(driver), driver.name, ...driver.aliases].map(folded))];
}

const folded = (name: string) => name.toLowerCase().replaceAll('_', '-');

/** The options of an instance; see resolveOptions. */
export function resolveInstance<S extends OptionSchema>(
  instance: Instance<DriverDeclaration<S>>,
  { env, secrets }: Pick<Surroundings, 'env' | 'secrets'>,
): ResolvedOptions<S> {
  const { name, driver } = instance;
  const aliases = aliasesIn(secrets, instance);
  const schema = driver.options;
  return resolveOptions({ instance: name, driver: defaultInstanceOf(driver), aliases, schema, env, secrets });
}

/** Further keys of the secrets file that belong to the default instance, as the file spells them: `google_storage`. */
export function aliasesIn(secrets: Secrets, { name, driver }: Instance): string[] {
  const names = namesOf(driver);
  const aliases = Object.keys(secrets).filter((key) => key !== name && names.includes(folded(key)));
  return names.includes('registry') ? [...aliases, 'registry'] : aliases;
}

/** The error for required options without a value. It describes each, and names the command and the variable that set the first. */
export function missingOptions({ name, driver }: Instance, missing: readonly string[]): SregistryError {
  const described = missing.map((option) => `${option} (${driver.options[option]?.describe})`);
  const [first = ''] = missing;
  const spec = driver.options[first];
  const kind = name === defaultInstanceOf(driver) ? '' : ` --driver ${driver.name}`;
  const command = spec?.secret
    ? `sregistry auth login ${name}`
    : `sregistry backend add ${name}${kind} ${first}=${spec?.example ?? 'VALUE'}`;
  const variables = spec
    ? variablesOf({ instance: name, driver: defaultInstanceOf(driver) }, first, spec)
    : [];
  return new SregistryError('SETTINGS', `The backend ${name} lacks ${described.join(', ')}`, {
    hint: `Set it with: ${command}, or with the variable ${variables[1] ?? variables[0]}`,
  });
}

/**
 * An error for each key of the instance's entry in the secrets file that is probably a misspelt option. Other unknown keys are
 * settings of scripts and of the Python client.
 */
export function misspeltOptions(instance: Instance, secrets: Secrets): SregistryError[] {
  const { name, driver } = instance;
  const options = Object.entries(driver.options);
  return [name, ...aliasesIn(secrets, instance)].flatMap((entryName) => {
    const known = options.flatMap(([option, spec]) => optionNames(option, spec, [entryName, name]));
    const names = new Set(['driver', ...known].map(upperSnake));
    return Object.keys(entryOf(secrets, entryName) ?? {})
      .filter((key) => !names.has(upperSnake(key)))
      .filter((key) => nearestOption(key, Object.keys(driver.options)) !== undefined)
      .map((key) => unknownOption(key, driver.name, driver.options));
  });
}

function unknownDriver(
  name: string,
  stated: unknown,
  { drivers, secrets }: Pick<Surroundings, 'drivers' | 'secrets'>,
): SregistryError {
  const message =
    stated === undefined
      ? `There is no backend "${name}".`
      : `The backend "${name}" names a driver that does not exist: ${JSON.stringify(stated)}.`;
  const own = Object.keys(secrets).filter((key) => key !== name && isJsonObject(secrets[key]));
  const names = stated === undefined ? [...own, ...drivers.flatMap(namesOf)] : drivers.flatMap(namesOf);
  const meant = nearest(String(stated ?? name), names);
  return new SregistryError('SETTINGS', message, {
    hint:
      meant === undefined
        ? `The drivers are ${drivers.map((driver) => driver.name).join(', ')}`
        : `Did you mean ${meant}?`,
  });
}
