/** The facts `inspect` tells about a container, in Apptainer's terms (pkg/inspect/metadata.go). */

export interface AppAttributes {
  /** Text of each script that sets the environment, by its path in the image. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly runscript?: string | undefined;
  readonly test?: string | undefined;
  readonly helpfile?: string | undefined;
}

/** Absent keys: the container has none of it. */
export interface Attributes extends AppAttributes {
  readonly apps?: Readonly<Record<string, AppAttributes>> | undefined;
  readonly deffile?: string | undefined;
  readonly startscript?: string | undefined;
}

/** In the order in which Apptainer prints them. */
export const ATTRIBUTE_NAMES = [
  'apps',
  'environment',
  'labels',
  'runscript',
  'test',
  'helpfile',
  'deffile',
  'startscript',
] as const satisfies readonly (keyof Attributes)[];

/**
 * Reads attributes from JSON of unknown origin. Leaves out values that are empty or do not have the expected shape. Sorts the
 * rest in Apptainer's order, and maps by key.
 */
export function toAttributes(value: unknown): Attributes {
  const given = toRecord(value);
  const apps = Object.entries(toRecord(given.apps)).map(
    ([name, app]) => [name, toApp(toRecord(app))] as const,
  );
  const { environment, labels, ...scripts } = toApp(given);
  return compact({
    apps: sorted(Object.fromEntries(apps)),
    environment,
    labels,
    ...scripts,
    deffile: toText(given.deffile),
    startscript: toText(given.startscript),
  });
}

/** The strings of an object of labels, sorted by key. */
export function toStrings(value: unknown): Record<string, string> {
  const strings = Object.entries(toRecord(value)).filter(([, text]) => typeof text === 'string');
  return sorted(Object.fromEntries(strings) as Record<string, string>);
}

function toApp(given: Record<string, unknown>): AppAttributes {
  return compact({
    environment: toStrings(given.environment),
    labels: toStrings(given.labels),
    runscript: toText(given.runscript),
    test: toText(given.test),
    helpfile: toText(given.helpfile),
  });
}

function toRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function toText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function sorted<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The object without values that are undefined or empty objects. */
function compact<T extends object>(record: T): T {
  const entries = Object.entries(record).filter(
    ([, value]) =>
      value !== undefined && (typeof value !== 'object' || Object.keys(value as object).length > 0),
  );
  return Object.fromEntries(entries) as T;
}
