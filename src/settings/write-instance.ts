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
  /** Name of the instance: a folder of the mount. */
  readonly name: string;
  readonly driver: DriverDeclaration;
  /** All drivers, so that the name of one is not given to an instance of another. */
  readonly drivers: readonly DriverDeclaration[];
  readonly pairs: Readonly<Record<string, string>>;
  /** Values that are set already may be replaced. */
  readonly force?: boolean;
  /** What may set required options beside the file. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Keys that stand at the root of the Python client's file and are no clients. */
const RESERVED = [ACTIVE, 'base', 'username', 'token'];

/**
 * Creates or extends an instance's entry and returns the keys written, by the pairs' order. A pair whose name is
 * that of an option, in any spelling (`secretAccessKey`, `secret-access-key`, `SECRET_ACCESS_KEY`), is stored under
 * the option's name; a foreign variable that the schema names (`AWS_ACCESS_KEY_ID`) keeps its name.
 *
 * Errors, and then nothing is written: SETTINGS for a name or value that cannot be, for what is not an option of the driver, and
 * where a required option has no value afterwards (a secret one may be set later, by a login); EXISTS for a value that is
 * set already, without `force`.
 */
export async function writeInstance(
  request: WriteInstanceRequest,
  file: string = getPaths().secretsFile,
): Promise<readonly string[]> {
  checkName(request);
  const updates = new Map<string, string>();
  await editSecrets((secrets) => {
    const client = entryName(request, secrets);
    const entry = entryOf(secrets, client) ?? {};
    for (const [given, value] of Object.entries(request.pairs)) {
      updates.set(keyFor(request, entry, given, value), value);
    }
    if (!request.force) refuseToReplace(entry, updates, client);
    const changes = { ...driverKey(request, entry), ...Object.fromEntries(updates) };
    const changed = withEntry(secrets, client, changes);
    checkWhole(request, changed);
    return changed;
  }, file);
  return [...updates.keys()];
}

function checkName({ name, driver, drivers }: WriteInstanceRequest): void {
  if (!INSTANCE_NAME.test(name) || RESERVED.includes(name)) {
    throw new SregistryError('SETTINGS', `A backend cannot be called "${name}".`, {
      hint: 'Use letters, digits and . _ -',
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

/** The default instance may have its entry under an alias already. */
function entryName({ name, driver }: WriteInstanceRequest, secrets: Secrets): string {
  if (driverNamed(name, [driver]) === undefined) return name;
  const known = namesOf(driver).find((alias) => entryOf(secrets, alias) !== undefined);
  return entryOf(secrets, name) === undefined ? (known ?? name) : name;
}

/** A backend that could not be used is not configured: better now than at the first use of it. */
function checkWhole({ name, driver, env = {} }: WriteInstanceRequest, secrets: Secrets): void {
  const isDefault = driverNamed(name, [driver]) !== undefined;
  const instance = { name: isDefault ? defaultInstanceOf(driver) : name, driver };
  const missing = resolveInstance(instance, { env, secrets }).missing.filter(
    (option) => !driver.options[option]?.secret,
  );
  if (missing.length > 0) throw missingOptions(instance, missing);
}

/** What names the driver in the entry, where the instance's name does not. */
function driverKey({ name, driver, force }: WriteInstanceRequest, entry: JsonObject): JsonObject {
  if (driverNamed(name, [driver]) !== undefined) return {};
  const before = entry.driver;
  if (before !== undefined && before !== driver.name && !force) {
    throw new SregistryError('EXISTS', `${name} is a backend of driver ${String(before)} already.`, {
      hint: 'Choose another name, or replace it with --force',
    });
  }
  return { driver: driver.name };
}

/** The key a pair is stored under. SETTINGS for what is not an option, and for a value that the option does not allow. */
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

function refuseToReplace(entry: JsonObject, updates: ReadonlyMap<string, string>, client: string): void {
  for (const [key, value] of updates) {
    const before = entry[key];
    if (before === undefined || before === value) continue;
    throw new SregistryError('EXISTS', `${key} of ${client} is set already.`, {
      hint: 'Replace it with --force',
    });
  }
}
