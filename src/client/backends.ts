/** The backends of this user as they are configured, and what each driver can do. Asks no service. */
import { CAPABILITIES, type Capability } from '../backends/backend.ts';
import { drivers } from '../backends/registry.ts';
import { configuredInstances, instanceNamed, resolveInstance } from '../settings/instances.ts';
import type { OptionSpec } from '../settings/options.ts';
import type { OptionSource } from '../settings/resolve.ts';
import type { Session } from './session.ts';
import { preferredBackend } from './target.ts';

/** Shown instead of a secret. */
const MASK = '***';

type Configuration = Pick<Session, 'env' | 'secrets'>;

export interface OptionSummary {
  /** The value; masked if it is secret, undefined if it is not set. */
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
  /** What it can do beyond resolving and reading. */
  readonly capabilities: readonly Capability[];
  readonly options: Readonly<Record<string, OptionSummary>>;
  /** Required options without a value. */
  readonly missing: readonly string[];
}

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

/** One backend, configured or not. Throws SETTINGS if no backend has the name. */
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
    capabilities: instance.driver.capabilities,
    options: Object.fromEntries(options),
    missing,
  };
}

function isActive(name: string, configuration: Configuration): boolean {
  const preferred = preferredBackend(configuration);
  if (preferred === undefined) return false;
  try {
    return instanceNamed(preferred, { drivers, ...configuration }).name === name;
  } catch {
    return false;
  }
}

/** What the drivers declare that their backends can do. */
export function listCapabilities(): DriverCapabilities[] {
  return drivers.map(({ name, title, capabilities }) => {
    const can = Object.fromEntries(CAPABILITIES.map((each) => [each, capabilities.includes(each)]));
    return { driver: name, title, can: can as DriverCapabilities['can'] };
  });
}
