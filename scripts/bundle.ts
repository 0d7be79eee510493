/**
 * Builds the JavaScript of `dist` from `src`: modules and the packages they use, joined into few files, as a start that opens
 * hundreds of files takes three times as long. A command loads the chunks that it needs and no others. Two kinds of packages stay
 * outside: those with native addons, and the optional ones, which `import(name)` finds at run time.
 *
 *     node scripts/bundle.ts
 */
import { globSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Plugin, type RolldownOutput, rolldown } from 'rolldown';
import { licences, packageOf } from './licences.ts';

const ROOT = join(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');

/** Packages with native addons: they find these beside themselves. */
const NATIVE = ['better-sqlite3', 'fuse-native'];

/** The command line, the library, and what `entryModule` of src/base/package.ts names: processes and workers. */
function entries(): Record<string, string> {
  const sources = globSync('src/**/*.ts', { cwd: ROOT });
  const named = sources.flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/\bentryModule\('([^']+)'\)/g)].map(
      ([, name]) => name,
    ),
  );
  const names = new Set(['cli/main', 'client/index', ...named]);
  return Object.fromEntries([...names].map((name) => [name, `src/${name}.ts`]));
}

/**
 * Loads `string-width` when a text is not plain ASCII. yargs measures each word of the help at each start, and the package's
 * tables of graphemes and emoji take 20 ms to set up: more than all else that a command does.
 */
function lazyStringWidth(): Plugin {
  const NAME = 'string-width';
  const LAZY = `\0${NAME}`;
  return {
    name: 'lazy-string-width',
    resolveId(source, importer) {
      if (source !== NAME || importer === undefined) return null;
      return importer === LAZY ? this.resolve(NAME, join(ROOT, 'package.json'), { skipSelf: true }) : LAZY;
    },
    load: (id) =>
      id !== LAZY
        ? null
        : `export default (text, options) =>
             /^[\\x20-\\x7e]*$/.test(text) ? text.length : require('${NAME}').default(text, options);`,
  };
}

async function build(): Promise<RolldownOutput> {
  const bundle = await rolldown({
    cwd: ROOT,
    platform: 'node',
    input: entries(),
    external: NATIVE,
    // A package's ES modules, where it has both kinds: requires in a UMD wrapper cannot be followed.
    resolve: { mainFields: ['module', 'main'] },
    // Of CommonJS modules, which become part of ES modules.
    transform: { define: { __filename: 'import.meta.filename', __dirname: 'import.meta.dirname' } },
    plugins: [lazyStringWidth()],
    onLog(level, log) {
      // An import that is not found becomes an external one, which would fail where nothing else is installed.
      if (level === 'warn') throw new Error(log.message);
    },
  });
  return bundle.write({
    dir: DIST,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
  });
}

/** Removes the JavaScript of earlier builds. */
function removeOthers({ output }: RolldownOutput): void {
  const made = new Set(output.map(({ fileName }) => fileName));
  for (const file of globSync('**/*.{js,js.map}', { cwd: DIST }))
    if (!made.has(file)) rmSync(join(DIST, file));
}

const start = new Date();
const built = await build();
removeOthers(built);
const modules = built.output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
const packages = new Set(modules.map((id) => packageOf(id)).filter((folder) => folder !== undefined));
writeFileSync(join(DIST, 'LICENCES.txt'), licences(packages));
// bin/sregistry.js compares it with the sources: a source that was changed meanwhile is not in the build.
const note = join(DIST, '.built');
writeFileSync(note, '');
utimesSync(note, start, start);
