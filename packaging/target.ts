/** What packages are made for, and where their parts come from. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** As Node names it. */
export type Architecture = 'x64' | 'arm64';

export const ARCHITECTURES: readonly Architecture[] = ['x64', 'arm64'];

export interface PackageRequest {
  /** Where the package goes. */
  readonly folder: string;
  readonly version: string;
  readonly architecture: Architecture;
  /** Of gzip: 1 is fast, 9 small. */
  readonly level: number;
}

export const ROOT = join(import.meta.dirname, '..');

/** A package that npm has installed in the checkout. */
export const installed = (name: string): string => join(ROOT, 'node_modules', name);

// biome-ignore lint/suspicious/noExplicitAny: package.json has any shape
export const readDescription = (folder: string): any =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** When what is packaged last changed for its users. */
export const releaseDate = (): Date => statSync(join(ROOT, 'CHANGELOG.md')).mtime;

/** A part that could not be made: what a package then cannot do, why, and what helps. */
export class Missing extends Error {}
