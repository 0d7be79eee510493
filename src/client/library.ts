/** The user's own images: the library of the paths that the environment names. */
import type { Library } from '../catalog/library.ts';
import { openLibrary } from '../catalog/open-library.ts';
import { isEnabled } from '../settings/environment.ts';
import { getPaths } from '../settings/paths.ts';

/** Does the user want nothing stored (`SREGISTRY_DISABLE`, `SINGULARITY_DISABLE_CACHE`)? */
export function isLibraryDisabled(env: NodeJS.ProcessEnv): boolean {
  return isEnabled(env, 'SREGISTRY_DISABLE') || isEnabled(env, 'SINGULARITY_DISABLE_CACHE');
}

/** Touches no file before the first call of a method. */
export function openUserLibrary(env: NodeJS.ProcessEnv): Library {
  const { databaseFile, storage } = getPaths(env);
  return openLibrary({ databaseFile, storage, disabled: isLibraryDisabled(env) });
}
