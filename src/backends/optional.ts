/**
 * Packages that one driver needs and most people do not: they are imported when that driver is first used, and their absence
 * is an error that says what to install.
 */
import { SregistryError, systemCode } from '../base/errors.ts';

export interface OptionalPackage {
  /** The driver that needs it, for the message. */
  readonly driver: string;
  /** Versions that fit, as npm writes them: `^3.2.0`. Default: the newest. */
  readonly version?: string | undefined;
  /** What it is for, as in `to sign requests`. */
  readonly purpose?: string | undefined;
}

/**
 * The module `name` of a package: `await importOptional<typeof import('@acme/sdk')>('@acme/sdk', { driver: 'acme' })`.
 *
 * @throws {SregistryError} MISSING_DEPENDENCY where the package is not installed, INTERNAL where it cannot be loaded.
 */
export async function importOptional<T>(name: string, options: OptionalPackage): Promise<T> {
  try {
    return await import(name);
  } catch (cause) {
    throw isAbsent(name, cause) ? missing(name, options, cause) : broken(name, options, cause);
  }
}

/** Absent is the package itself, not something that it wants in turn. */
function isAbsent(name: string, error: unknown): boolean {
  return systemCode(error) === 'ERR_MODULE_NOT_FOUND' && String(error).includes(`'${packageOf(name)}`);
}

/** `@acme/sdk/auth` is a module of the package `@acme/sdk`. */
function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');
}

function missing(
  name: string,
  { driver, version, purpose }: OptionalPackage,
  cause: unknown,
): SregistryError {
  const wanted = version === undefined ? packageOf(name) : `'${packageOf(name)}@${version}'`;
  const why = purpose === undefined ? '' : ` ${purpose}`;
  return new SregistryError(
    'MISSING_DEPENDENCY',
    `The driver ${driver} needs the package ${packageOf(name)}${why}`,
    {
      hint: `npm install ${wanted}, where sregistry is installed (npm install --global, if it was installed so)`,
      cause,
    },
  );
}

function broken(name: string, { driver }: OptionalPackage, cause: unknown): SregistryError {
  return new SregistryError('INTERNAL', `The driver ${driver} cannot load the package ${packageOf(name)}`, {
    cause,
  });
}
