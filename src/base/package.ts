/**
 * Where the files of this copy of sregistry lie: the sources of a checkout, or the build in `dist`. The build moves most modules
 * to other places than in `src`, so no other module may conclude from its own URL where a file is.
 */
import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const areSources = import.meta.url.endsWith('.ts');

/** Path of the package's own package.json. */
export const descriptionFile = findPackageJSON('..', import.meta.url) as string;

const root = dirname(descriptionFile);

/** Path of a file that comes with the package, by its path in the package: `assets/robot.png`. */
export const packagedFile = (path: string): string => join(root, path);

/**
 * A module to start a process or a worker with, or to import at run time, by its path in `src` without extension:
 * `fs/mount-process`. The build makes only those that `scripts/bundle.ts` lists.
 */
export function entryModule(path: string): URL {
  return pathToFileURL(packagedFile(areSources ? `src/${path}.ts` : `dist/${path}.js`));
}
