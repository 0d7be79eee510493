import { readFileSync } from 'node:fs';
import { descriptionFile } from './package.ts';

const description = JSON.parse(readFileSync(descriptionFile, 'utf8'));

/** The version of sregistry. */
export const version: string = description.version;

/** The lowest version of Node it runs on: `22.19`. */
export const neededNode: string = description.engines.node.replace(/^>=/, '');
