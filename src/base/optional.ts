/**
 * Imports packages that only some features need, when they are first used. A missing package is an error that says what to
 * install.
 */
import { findPackageJSON } from 'node:module';
import { SregistryError, systemCode } from './errors.ts';

export interface Dependency {
  /** Name of the package. */
  readonly module: string;
  /** Versions that fit, as npm writes them: `^3.2.0`. */
  readonly version: string;
  /** What it is for: `to sign requests`. */
  readonly purpose: string;
}

/**
 * Imports the module `name` of the package `dependency`. `user` names what needs it in errors: `The driver acme`.
 *
 * @throws {SregistryError} MISSING_DEPENDENCY if the package is not installed, INTERNAL if it cannot be loaded.
 */
export async function importOptional<T>(name: string, user: string, dependency: Dependency): Promise<T> {
  try {
    return await import(name);
  } catch (cause) {
    if (isAbsent(dependency, cause)) throw missingDependency(user, dependency, cause);
    throw new SregistryError('INTERNAL', `${user} cannot load the package ${dependency.module}`, { cause });
  }
}

/** Is the package installed? Loads nothing of it. */
export function isInstalled({ module }: Pick<Dependency, 'module'>): boolean {
  try {
    return findPackageJSON(module, import.meta.url) !== undefined;
  } catch (error) {
    if (systemCode(error) === 'ERR_MODULE_NOT_FOUND') return false;
    throw error;
  }
}

export function missingDependency(
  user: string,
  { module, version, purpose }: Dependency,
  cause?: unknown,
): SregistryError {
  return new SregistryError('MISSING_DEPENDENCY', `${user} needs the package ${module} ${purpose}`, {
    hint: `npm install '${module}@${version}', where sregistry is installed (npm install --global, if it was installed so)`,
    cause,
  });
}

/** Is the package itself missing, rather than a package that it needs? */
function isAbsent({ module }: Dependency, error: unknown): boolean {
  return systemCode(error) === 'ERR_MODULE_NOT_FOUND' && String(error).includes(`'${module}`);
}
