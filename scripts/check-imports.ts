/**
 * The one-way house: a room of src/ imports from the rooms below it, never from one above; some packages have one
 * file that may import them; src/ never imports from test/ or bench/. Prints each breach and exits 1.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** From the bottom up. docs/architecture.md says what each room is for. */
const ROOMS = ['base', 'log', 'settings', 'image', 'catalog', 'cache', 'backends', 'client', 'fs', 'cli'];

/** A package that exactly one file (or folder) may import, so that it can be replaced there. */
const ONLY: Record<string, string> = {
  'fuse-native': 'src/fs/fuse.ts',
  'better-sqlite3': 'src/catalog/',
  yargs: 'src/cli/',
  undici: 'src/backends/',
};

const IMPORT = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+|\brequire\s*\(\s*)(['"])([^'"\n]+)\1/g;

const root = join(import.meta.dirname, '..');
const breaches: string[] = [];

const roomOf = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1];

for (const file of globSync('src/**/*.ts', { cwd: root })) {
  const room = roomOf(file);
  if (room !== undefined && !ROOMS.includes(room))
    breaches.push(`${file}: src/${room} is not in the list of rooms`);
  for (const [, , target] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT)) {
    if (target === undefined) continue;
    if (!target.startsWith('.')) {
      const only = Object.entries(ONLY).find(
        ([name]) => target === name || target.startsWith(`${name}/`),
      )?.[1];
      if (only !== undefined && !file.startsWith(only))
        breaches.push(`${file}: only ${only} may import ${target}`);
      continue;
    }
    const path = relative(root, join(root, dirname(file), target));
    if (!path.startsWith('src/')) {
      if (path !== 'package.json') breaches.push(`${file}: imports ${path}, outside src/`);
      continue;
    }
    const other = roomOf(path);
    if (room === undefined || other === undefined || other === room) continue;
    if (ROOMS.indexOf(other) > ROOMS.indexOf(room)) {
      breaches.push(`${file}: ${room} may not import from ${other}, which is above it (${target})`);
    }
  }
}

for (const breach of breaches) console.error(breach);
if (breaches.length > 0) process.exit(1);
