/**
 * The one-way house: a room of src/ imports from the rooms below it, never from one above; no file imports itself by way of
 * others, be it for a type or when it is first needed; some packages have one file that may import them; src/ never imports
 * from test/ or bench/; no file finds another by its own URL, as the build moves files. Prints each breach and exits 1.
 *
 *     node scripts/check-imports.ts [CHECKOUT]
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** From the bottom up. docs/architecture.md says what each room is for. */
const ROOMS = ['base', 'log', 'settings', 'image', 'catalog', 'cache', 'backends', 'client', 'fs', 'cli'];

/** A package that exactly one file (or folder) may import, so that it can be replaced there. */
const ONLY: Record<string, string> = {
  'fuse-native': 'src/fs/fuse-binding.ts',
  'better-sqlite3': 'src/catalog/',
  yargs: 'src/cli/',
  undici: 'src/backends/',
  'node:worker_threads': 'src/base/',
};

const IMPORT = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+|\brequire\s*\(\s*)(['"])([^'"\n]+)\1/g;

/** The file that knows where others lie after a build. */
const PLACES = 'src/base/package.ts';
/** A module's own place, except where it only says from where Node looks for a package. */
const OWN_PLACE = /(?<!\b(?:createRequire\(|findPackageJSON\(.*))\bimport\.meta\.(?:url|dirname|filename)\b/;

/** What a file imports: packages by name, files by their path in the checkout. */
interface Imports {
  readonly packages: readonly string[];
  readonly files: readonly string[];
}

function importsOf(root: string, file: string): Imports {
  const targets = [...readFileSync(join(root, file), 'utf8').matchAll(IMPORT)].flatMap(([, , t]) => t ?? []);
  const packages = targets.filter((target) => !target.startsWith('.'));
  const files = targets.filter((target) => target.startsWith('.'));
  return { packages, files: files.map((path) => relative(root, join(root, dirname(file), path))) };
}

const usesOwnPlace = (root: string, file: string) =>
  file !== PLACES && OWN_PLACE.test(readFileSync(join(root, file), 'utf8'));

const roomOf = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1];

function* breachesOf(file: string, { packages, files }: Imports): Generator<string> {
  const room = roomOf(file);
  if (room !== undefined && !ROOMS.includes(room)) yield `${file}: src/${room} is not in the list of rooms`;
  for (const target of packages) {
    const only = Object.entries(ONLY).find(([name]) => target === name || target.startsWith(`${name}/`))?.[1];
    if (only !== undefined && !file.startsWith(only)) yield `${file}: only ${only} may import ${target}`;
  }
  for (const path of files) {
    if (!path.startsWith('src/')) {
      if (path !== 'package.json') yield `${file}: imports ${path}, outside src/`;
      continue;
    }
    const other = roomOf(path);
    if (room === undefined || other === undefined || other === room) continue;
    if (ROOMS.indexOf(other) > ROOMS.indexOf(room))
      yield `${file}: ${room} may not import from ${other}, which is above it (${path})`;
  }
}

/** A depth-first walk: an import of a file that the walk is still inside closes a circle. */
function circles(graph: ReadonlyMap<string, Imports>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    if (path.includes(file)) {
      found.push(`circle of imports: ${[...path.slice(path.indexOf(file)), file].join(' > ')}`);
      return;
    }
    if (done.has(file)) return;
    path.push(file);
    for (const next of graph.get(file)?.files ?? []) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return found;
}

const root = resolve(process.argv[2] ?? join(import.meta.dirname, '..'));
const files = globSync('src/**/*.ts', { cwd: root }).toSorted();
const graph = new Map(files.map((file) => [file, importsOf(root, file)]));
const breaches = [...graph].flatMap(([file, imports]) => [...breachesOf(file, imports)]);
breaches.push(...circles(graph));
for (const file of files)
  if (usesOwnPlace(root, file)) breaches.push(`${file}: only ${PLACES} may find files by import.meta`);
for (const breach of breaches) console.error(breach);
if (breaches.length > 0) process.exit(1);
