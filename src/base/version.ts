import { readFileSync } from 'node:fs';

/** package.json lies two folders above this file, in src/base as in dist/base. */
const description = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

/** The version of sregistry. */
export const version: string = description.version;

/** The lowest version of Node it runs on: `22.19`. */
export const neededNode: string = description.engines.node.replace(/^>=/, '');
