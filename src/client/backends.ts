/** The backends of this user as they are configured, and what each driver can do. Nothing is asked of any service. */
import type { Backend } from '../backends/backend.ts';
import { type DriverEntry, drivers } from '../backends/registry.ts';
import {
  configuredInstances,
  defaultInstanceOf,
  instanceNamed,
  resolveInstance,
} from '../settings/instances.ts';
import type { OptionSpec } from '../settings/options.ts';
import type { OptionSource } from '../settings/resolve.ts';
import type { Session } from './session.ts';
import { preferredClient } from './target.ts';

/** What takes the place of a secret wherever settings are shown. */
const MASK = '***';

type Configuration = Pick<Session, 'env' | 'secrets'>;

export interface OptionSummary {
  /** As it is set; a secret masked. Undefined where it is not set. */
  readonly value: string | boolean | number | undefined;
  readonly source: OptionSource | undefined;
  readonly required: boolean;
  readonly describe: string;
}

export interface BackendSummary {
  readonly name: string;
  readonly driver: string;
  readonly title: string;
  readonly active: boolean;
  readonly options: Readonly<Record<string, OptionSummary>>;
  /** Required options without a value. */
  readonly missing: readonly string[];
}

/** What a driver's backends can do beyond resolving, reading and listing. */
export const CAPABILITIES = [
  'push',
  'search',
  'share',
  'remove',
  'copy',
  'check',
] as const satisfies (keyof Backend)[];

export type Capability = (typeof CAPABILITIES)[number];

export interface DriverCapabilities {
  readonly driver: string;
  readonly title: string;
  readonly can: Readonly<Record<Capability, boolean>>;
}

/** The configured backends: those a mount shows. */
export function listBackends(configuration: Configuration): BackendSummary[] {
  return configuredInstances({ drivers, ...configuration }).instances.map(({ name }) =>
    describeBackend(name, configuration),
  );
}

/** One backend, configured or not. SETTINGS where the name means none. */
export function describeBackend(name: string, configuration: Configuration): BackendSummary {
  const instance = instanceNamed(name, { drivers, ...configuration });
  const { values, sources, missing } = resolveInstance(instance, configuration);
  const options = Object.entries<OptionSpec>(instance.driver.options).map(([option, spec]) => {
    const value = values[option];
    const shown = spec.secret && value !== undefined ? MASK : value;
    const { required = false, describe } = spec;
    return [option, { value: shown, source: sources[option], required, describe }] as const;
  });
  return {
    name: instance.name,
    driver: instance.driver.name,
    title: instance.driver.title,
    active: isActive(instance.name, configuration),
    options: Object.fromEntries(options),
    missing,
  };
}

function isActive(name: string, configuration: Configuration): boolean {
  const client = preferredClient(configuration);
  if (client === undefined) return false;
  try {
    return instanceNamed(client, { drivers, ...configuration }).name === name;
  } catch {
    return false;
  }
}

/** What the drivers can do, told by a backend of each that is made and never used. */
export async function listCapabilities(env: NodeJS.ProcessEnv): Promise<DriverCapabilities[]> {
  return Promise.all(drivers.map((entry) => capabilitiesOf(entry, env)));
}

async function capabilitiesOf(entry: DriverEntry, env: NodeJS.ProcessEnv): Promise<DriverCapabilities> {
  const driver = await entry.load();
  const backend = driver.create({ name: defaultInstanceOf(entry), options: exampleOptions(entry), env });
  const can = Object.fromEntries(CAPABILITIES.map((name) => [name, backend[name] !== undefined]));
  await backend.close?.();
  return { driver: entry.name, title: entry.title, can: can as DriverCapabilities['can'] };
}

/** Values with which a backend can be made. */
function exampleOptions({ options }: DriverEntry): Record<string, string> {
  const texts = Object.entries<OptionSpec>(options).filter(([, { type }]) => type !== 'boolean');
  const given = texts.map(([name, spec]) => [name, spec.default ?? spec.example]);
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}
