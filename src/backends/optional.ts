/** Packages that one driver declares: they need not be installed until a backend of it is used. */
import { SregistryError } from '../base/errors.ts';
import { importOptional } from '../base/optional.ts';
import type { Driver } from './backend.ts';

/**
 * A module of a package among the driver's `dependencies`:
 * `await importDependency<typeof import('@acme/sdk')>(declaration, '@acme/sdk')`.
 *
 * @throws {SregistryError} MISSING_DEPENDENCY where the package is not installed, INTERNAL where it cannot be loaded or was not
 * declared.
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
