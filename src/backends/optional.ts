/** Optional packages of a driver: they need not be installed until a backend of the driver is used. */
import { SregistryError } from '../base/errors.ts';
import { importOptional } from '../base/optional.ts';
import type { Driver } from './backend.ts';

/**
 * Imports a module of a package from the driver's `dependencies`:
 * `await importDependency<typeof import('@acme/sdk')>(declaration, '@acme/sdk')`.
 *
 * @throws {SregistryError} MISSING_DEPENDENCY if the package is not installed, INTERNAL if it fails to load or the driver does not
 * declare it.
 */
export async function importDependency<T>(
  { name: driver, dependencies = [] }: Pick<Driver, 'name' | 'dependencies'>,
  name: string,
): Promise<T> {
  const dependency = dependencies.find(({ module }) => isModuleOf(name, module));
  if (dependency === undefined)
    throw new SregistryError('INTERNAL', `The driver ${driver} does not declare ${name}`);
  return importOptional<T>(name, `The driver ${driver}`, dependency);
}

/** `@acme/sdk/auth` is a module of the package `@acme/sdk`. */
const isModuleOf = (name: string, module: string) => name === module || name.startsWith(`${module}/`);
