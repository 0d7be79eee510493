/**
 * The optional packages of package.json (logins of AWS and Google, signatures), each joined into few files: as npm installs them
 * they are 35 MB in 2,000 files, and here 4 MB. sregistry imports them by name, so they stay packages of that name.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';
import { packageOf } from '../scripts/licences.ts';
import { installed, ROOT, readDescription } from './target.ts';

/** What Node adds to the names of a CommonJS module. */
const NOT_NAMES = new Set(['default', 'module.exports', '__esModule']);

const names: string[] = Object.keys(readDescription(ROOT).peerDependencies);

/** Puts them below `folder`, a `node_modules`. Returns the folders of the packages that went into them. */
export async function addOptionalPackages(folder: string): Promise<Set<string>> {
  const entries = await Promise.all(
    names.map(async (name) => [`\0${name}` as string, await entryOf(name)] as const),
  );
  const sources = new Map(entries);
  const bundle = await rolldown({
    cwd: ROOT,
    platform: 'node',
    input: Object.fromEntries(names.map((name) => [name, `\0${name}`])),
    resolve: { mainFields: ['module', 'main'] },
    transform: { define: { __filename: 'import.meta.filename', __dirname: 'import.meta.dirname' } },
    plugins: [
      {
        name: 'entries',
        resolveId(source, importer) {
          if (sources.has(source)) return source;
          return importer !== undefined && sources.has(importer)
            ? this.resolve(source, join(ROOT, 'package.json'), { skipSelf: true })
            : null;
        },
        load: (id) => sources.get(id) ?? null,
      },
    ],
    onLog(_level, log) {
      // It would be looked for where nothing else is installed.
      if (log.code === 'UNRESOLVED_IMPORT') throw new Error(log.message);
    },
  });
  const { output } = await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name]/index.js',
    // In a package, as npm packs nothing else; which one does not matter.
    chunkFileNames: `${names[0]}/chunks/[name]-[hash].js`,
  });
  for (const name of names) describe(folder, name);
  const modules = output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
  return new Set(modules.flatMap((id) => packageOf(id) ?? []));
}

/** A module with the names that Node finds in the package: a bundler finds none in CommonJS. */
async function entryOf(name: string): Promise<string> {
  const url = import.meta.resolve(name, pathToFileURL(join(ROOT, 'package.json')).href);
  const exported = Object.keys(await import(url)).filter((key) => !NOT_NAMES.has(key));
  return `export { ${exported.join(', ')} } from '${name}';`;
}

function describe(folder: string, name: string): void {
  const { version, license } = readDescription(installed(name));
  const description = {
    name,
    version,
    license,
    type: 'module',
    exports: { '.': './index.js', './package.json': './package.json' },
  };
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, name, 'package.json'), JSON.stringify(description, null, 2));
}
