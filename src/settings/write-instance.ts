/** What `sregistry backend add` writes to the secrets file. */
import { SregistryError } from '../base/errors.ts';
import {
  type DriverDeclaration,
  defaultInstanceOf,
  driverNamed,
  INSTANCE_NAME,
  missingOptions,
  namesOf,
  resolveInstance,
} from './instances.ts';
import type { JsonObject } from './json.ts';
import { checkOption, unknownOption } from './option-value.ts';
import { getPaths } from './paths.ts';
import { findKey, optionNames } from './resolve.ts';
import { ACTIVE, editSecrets, entryOf, type Secrets, withEntry } from './secrets.ts';
import { upperSnake } from './variables.ts';

export interface WriteInstanceRequest {
  /** Name of the instance, which is also its folder in the mount. */
  readonly name: string;
  readonly driver: DriverDeclaration;
  /** All drivers, to refuse the name of one for an instance of another. */
  readonly drivers: readonly DriverDeclaration[];
  readonly pairs: Readonly<Record<string, string>>;
  /** Allows replacing existing values. */
  readonly force?: boolean;
  /** The environment, which may also set required options. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Keys at the root of the Python client's file that are not backends. */
const RESERVED = [ACTIVE, 'base', 'username', 'token'];

/**
 * Creates or extends an instance's entry, and returns the written keys in the order of the pairs. A pair that names an option in any
 * spelling (`secretAccessKey`, `secret-access-key`, `SECRET_ACCESS_KEY`) is stored under the option's name. Another program's variable
 * that the schema names (`AWS_ACCESS_KEY_ID`) keeps its name.
 *
 * On an error, nothing is written. Throws SETTINGS for an invalid name or value, for a name that is not an option of the driver, and if
 * a required option would have no value (except a secret one, which a login may set later). Throws EXISTS if a value is already set,
 * unless `force` is given.
 */
export async function writeInstance(
  request: WriteInstanceRequest,
  file: string = getPaths().secretsFile,
): Promise<readonly string[]> {
  checkName(request);
  const updates = new Map<string, string>();
  await editSecrets((secrets) => {
    const name = entryName(request, secrets);
    const entry = entryOf(secrets, name) ?? {};
    for (const [given, value] of Object.entries(request.pairs)) {
      updates.set(keyFor(request, entry, given, value), value);
    }
    if (!request.force) refuseToReplace(entry, updates, name);
    const changes = { ...driverKey(request, entry), ...Object.fromEntries(updates) };
    const changed = withEntry(secrets, name, changes);
    checkWhole(request, changed);
    return changed;
  }, file);
  return [...updates.keys()];
}

function checkName({ name, driver, drivers }: WriteInstanceRequest): void {
  if (!INSTANCE_NAME.test(name) || RESERVED.includes(name)) {
    throw new SregistryError('SETTINGS', `A backend cannot be called "${name}".`, {
      hint: 'Choose a name of letters, digits and . _ -',
    });
  }
  const owner = driverNamed(name, drivers);
  if (owner !== undefined && owner.name !== driver.name) {
    throw new SregistryError(
      'SETTINGS',
      `"${name}" is the name of the driver ${owner.name}, not of ${driver.name}.`,
      {
        hint: `Choose another name for this backend of driver ${driver.name}`,
      },
    );
  }
}

/** The key of the entry. The default instance may already have its entry under an alias. */
function entryName({ name, driver }: WriteInstanceRequest, secrets: Secrets): string {
  if (driverNamed(name, [driver]) === undefined) return name;
  const known = namesOf(driver).find((alias) => entryOf(secrets, alias) !== undefined);
  return entryOf(secrets, name) === undefined ? (known ?? name) : name;
}

/** Refuses an incomplete backend now, rather than at its first use. */
function checkWhole({ name, driver, env = {} }: WriteInstanceRequest, secrets: Secrets): void {
  const isDefault = driverNamed(name, [driver]) !== undefined;
  const instance = { name: isDefault ? defaultInstanceOf(driver) : name, driver };
  const missing = resolveInstance(instance, { env, secrets }).missing.filter(
    (option) => !driver.options[option]?.secret,
  );
  if (missing.length > 0) throw missingOptions(instance, missing);
}

/** The entry's key `driver`, needed if the instance's name is not that of its driver. */
function driverKey({ name, driver, force }: WriteInstanceRequest, entry: JsonObject): JsonObject {
  if (driverNamed(name, [driver]) !== undefined) return {};
  const before = entry.driver;
  if (before !== undefined && before !== driver.name && !force) {
    throw new SregistryError('EXISTS', `${name} is already a backend of driver ${String(before)}.`, {
      hint: 'Choose another name, or replace it with --force',
    });
  }
  return { driver: driver.name };
}

/** The key under which a pair is stored. Throws SETTINGS for an unknown option and for a value that the option does not allow. */
function keyFor(
  { name, driver }: WriteInstanceRequest,
  entry: JsonObject,
  given: string,
  value: string,
): string {
  const key = upperSnake(given);
  for (const [option, spec] of Object.entries(driver.options)) {
    const names = optionNames(option, spec, [name, defaultInstanceOf(driver)]);
    if (!names.map(upperSnake).includes(key)) continue;
    checkOption(name, option, spec, { text: value, place: `"${given}"` });
    const isForeign = [spec.env ?? []].flat().includes(key) && !key.startsWith('SREGISTRY_');
    return findKey(entry, names) ?? (isForeign ? key : option);
  }
  throw unknownOption(given, driver.name, driver.options);
}

function refuseToReplace(entry: JsonObject, updates: ReadonlyMap<string, string>, name: string): void {
  for (const [key, value] of updates) {
    const before = entry[key];
    if (before === undefined || before === value) continue;
    throw new SregistryError('EXISTS', `${key} of ${name} is already set.`, {
      hint: 'Replace it with --force',
    });
  }
}
