/**
 * Makes the packages: a self-contained tarball for each architecture, a .deb, and a file for npm. Prints the size of each, and what
 * could not be put in and why.
 *
 *     npm run package [-- --only tarball|deb|npm] [--arch x64|arm64] [--to FOLDER]
 *
 * or installs what a tarball would contain below PREFIX:
 *
 *     scripts/install.sh PREFIX
 */
import { mkdirSync, statSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeDeb } from './deb.ts';
import { install } from './install.ts';
import { makeNpmPackage } from './npm.ts';
import { makeTarball } from './tarball.ts';
import { ARCHITECTURES, type Architecture, Missing, ROOT, readDescription } from './target.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    arch: { type: 'string' },
    to: { type: 'string', default: resolve(ROOT, 'packages') },
    install: { type: 'string' },
  },
});

const { version } = readDescription(ROOT);
const to = resolve(values.to);
const architectures = ARCHITECTURES.filter((each) => values.arch === undefined || each === values.arch);

type Make = () => Promise<{ file: string; missing: Missing[] }>;

const makers: [kind: string, name: string, Make][] = [
  ...architectures.map((each): [string, string, Make] => [
    'tarball',
    `tarball for ${each}`,
    () => makeTarball(to, version, each),
  ]),
  ...architectures.map((each): [string, string, Make] => [
    'deb',
    `deb for ${each}`,
    () => makeDeb(to, version, each),
  ]),
  ['npm', 'file for npm', () => makeNpmPackage(to)],
];

async function makeAll(): Promise<void> {
  mkdirSync(to, { recursive: true });
  for (const [kind, name, make] of makers) {
    if (values.only !== undefined && values.only !== kind) continue;
    try {
      const { file, missing } = await make();
      const size = (statSync(file).size / 1e6).toFixed(1);
      console.log(`${relative(process.cwd(), file)}  ${size} MB`);
      for (const { message } of missing) console.log(`  ${message}`);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      console.log(`${name}: not made: ${error.message}`);
      process.exitCode = 1;
    }
  }
}

if (values.install === undefined) await makeAll();
else
  for (const { message } of await install(resolve(values.install), process.arch as Architecture))
    console.log(message);
