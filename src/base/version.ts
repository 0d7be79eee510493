import { readFileSync } from 'node:fs';

/** The version of sregistry. package.json lies two folders above this file, in src/base as in dist/base. */
export const version: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;
