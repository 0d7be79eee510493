/**
 * Resolves the options of one backend instance from the environment, the secrets file and the driver's defaults. The first match wins:
 *
 * 1. `SREGISTRY_<INSTANCE>_<OPTION>` in the environment;
 * 2. for the driver's default instance, the variables that the schema names (`AWS_ACCESS_KEY_ID`);
 * 3. the instance's entry in the secrets file, under any of these names or the option's own, in any spelling;
 * 4. the schema's default.
 *
 * An empty value counts as not set.
 */
import { SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import type { JsonObject } from './json.ts';
import { checkOption, type WrittenValue } from './option-value.ts';
import type { OptionSchema, OptionSpec, OptionValues } from './options.ts';
import { entryOf, type Secrets } from './secrets.ts';
import { upperSnake, variableOf } from './variables.ts';

export interface ResolveRequest<S extends OptionSchema = OptionSchema> {
  readonly instance: string;
  /** Name of the driver's default instance. */
  readonly driver: string;
  readonly schema: S;
  readonly env: NodeJS.ProcessEnv;
  readonly secrets: Secrets;
  /** Further names that the default instance's entry in the secrets file may have. */
  readonly aliases?: readonly string[];
}

export type OptionSource = 'environment' | 'secrets' | 'default';

export interface ResolvedOptions<S extends OptionSchema = OptionSchema> {
  readonly values: OptionValues<S>;
  /** The source of each value. */
  readonly sources: { readonly [K in keyof S]?: OptionSource };
  /** Where each value stands, in words: a variable, a key of the secrets file. */
  readonly places: { readonly [K in keyof S]?: string };
  /** Names of required options without a value. */
  readonly missing: readonly (keyof S & string)[];
}

/** A value before parsing, and its source. */
export interface FoundValue extends WrittenValue {
  readonly source: OptionSource;
}

/** Resolves all options. The result names missing ones. Throws SETTINGS for an invalid value. */
export function resolveOptions<S extends OptionSchema>(request: ResolveRequest<S>): ResolvedOptions<S> {
  const values: Record<string, string | boolean | number> = {};
  const sources: Record<string, OptionSource> = {};
  const places: Record<string, string> = {};
  const missing: string[] = [];
  for (const [name, spec] of Object.entries(request.schema)) {
    const found = findOption(request, name, spec);
    if (found === undefined) {
      if (spec.required) missing.push(name);
      continue;
    }
    values[name] = checkOption(request.instance, name, spec, found);
    sources[name] = found.source;
    places[name] = found.place;
  }
  return { values: values as OptionValues<S>, sources, places, missing } as ResolvedOptions<S>;
}

/**
 * The unparsed value of an option, and its source. Registers a secret value for redaction.
 */
export function findOption(request: ResolveRequest, name: string, spec: OptionSpec): FoundValue | undefined {
  const found = inEnvironment(request, name, spec) ?? inSecrets(request, name, spec) ?? byDefault(spec);
  if (found !== undefined && spec.secret && found.source !== 'default') registerSecret(found.text);
  return found;
}

/** The variables that set an option of an instance. */
export function variablesOf(
  request: Pick<ResolveRequest, 'instance' | 'driver'>,
  name: string,
  spec: OptionSpec,
): string[] {
  const own = variableOf(request.instance, name);
  return request.instance === request.driver ? [own, ...[spec.env ?? []].flat()] : [own];
}

function inEnvironment(request: ResolveRequest, name: string, spec: OptionSpec): FoundValue | undefined {
  for (const variable of variablesOf(request, name, spec)) {
    const text = request.env[variable];
    if (text) return { text, source: 'environment', place: variable };
  }
  return undefined;
}

function inSecrets(request: ResolveRequest, name: string, spec: OptionSpec): FoundValue | undefined {
  const { instance, driver, aliases = [], secrets } = request;
  for (const entryName of instance === driver ? [instance, ...aliases] : [instance]) {
    const entry = entryOf(secrets, entryName) ?? {};
    const key = findKey(entry, optionNames(name, spec, [entryName, instance]));
    if (key === undefined) continue;
    const place = `"${key}" of "${entryName}" in the secrets file`;
    return { text: textOf(entry[key], spec, place), source: 'secrets', place };
  }
  return undefined;
}

/**
 * The names an option may have in the secrets file, in any spelling: its own name, and the variables of its backends and of the schema.
 */
export function optionNames(option: string, spec: OptionSpec, backends: readonly string[]): string[] {
  return [option, ...backends.map((backend) => variableOf(backend, option)), ...[spec.env ?? []].flat()];
}

/** The key of `entry` that has a value and matches one of `names` in any spelling; earlier names take precedence. */
export function findKey(entry: JsonObject, names: readonly string[]): string | undefined {
  const keys = Object.keys(entry).filter((key) => entry[key] !== null && entry[key] !== '');
  for (const name of names.map(upperSnake)) {
    const key = keys.find((candidate) => upperSnake(candidate) === name);
    if (key !== undefined) return key;
  }
  return undefined;
}

function byDefault(spec: OptionSpec): FoundValue | undefined {
  if (spec.default === undefined) return undefined;
  return { text: spec.default, source: 'default', place: 'the default' };
}

function textOf(value: unknown, { type }: OptionSpec, place: string): string {
  if (typeof value !== 'object') return String(value);
  if (type === 'json') return JSON.stringify(value);
  throw new SregistryError('SETTINGS', `${place} must be a text, a number or a boolean.`);
}
