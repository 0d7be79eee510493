/**
 * Makes the packages: a self-contained tarball for each architecture, a .deb, and a file for npm. Prints the size of each, and what
 * could not be put in and why.
 *
 *     npm run package [-- --only tarball|deb|npm] [--arch x64|arm64] [--to FOLDER] [--level N]
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
    /** Of gzip: 1 is fast, 9 small. */
    level: { type: 'string', default: '6' },
  },
});

const { version } = readDescription(ROOT);
const to = resolve(values.to);
const common = { folder: to, version, level: Number(values.level) };
const architectures = ARCHITECTURES.filter((each) => values.arch === undefined || each === values.arch);

type Make = () => Promise<{ file: string; missing: Missing[] }>;

const makers: [kind: string, name: string, Make][] = [
  ...architectures.map((each): [string, string, Make] => [
    'tarball',
    `tarball for ${each}`,
    () => makeTarball({ ...common, architecture: each }),
  ]),
  ...architectures.map((each): [string, string, Make] => [
    'deb',
    `deb for ${each}`,
    () => makeDeb({ ...common, architecture: each }),
  ]),
  ['npm', 'file for npm', () => makeNpmPackage(to, architectures)],
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
