/** What packages are made of and took long to fetch or make: `node_modules/.cache/sregistry-packaging`. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './target.ts';

/** A folder of the cache; made if it does not exist. */
export function cacheFolder(name: string): string {
  const folder = join(ROOT, 'node_modules/.cache/sregistry-packaging', name);
  mkdirSync(folder, { recursive: true });
  return folder;
}
