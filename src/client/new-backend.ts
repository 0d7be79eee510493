/**
 * Makes a new driver in a checkout of sregistry: copies the template's code, test and page under another name, and enters it in
 * the table of drivers. It works at once, so its author can change one thing at a time.
 */
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { drivers } from '../backends/registry.ts';
import { SregistryError } from '../base/errors.ts';
import { driverNamed } from '../settings/instances.ts';
import { upperSnake } from '../settings/variables.ts';

export interface NewBackend {
  /** Of the driver: its folder, URI scheme and default instance. */
  readonly name: string;
  /** Root of the checkout. */
  readonly checkout: string;
}

const TEMPLATE = 'template';
const REGISTRY = 'src/backends/registry.ts';
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/** Makes the driver's files. Returns their paths, relative to the checkout, and last that of the changed table. */
export async function newBackend({ name, checkout }: NewBackend): Promise<string[]> {
  checkName(name);
  await checkCheckout(checkout);
  const files = await filesOf(checkout);
  const targets = files.map((file) => file.replace(TEMPLATE, name));
  await checkAbsent(checkout, [dirname(targets[0] as string), ...targets]);

  for (const [index, file] of files.entries()) {
    const target = join(checkout, targets[index] as string);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, renamed(await readFile(join(checkout, file), 'utf8'), name), { flag: 'wx' });
  }
  const registry = join(checkout, REGISTRY);
  await writeFile(registry, registered(await readFile(registry, 'utf8'), name));
  return [...targets, REGISTRY];
}

function checkName(name: string): void {
  if (!NAME.test(name)) {
    throw new SregistryError('USAGE', `"${name}" cannot be the name of a driver`, {
      hint: 'use lower-case letters and digits, joined by dashes',
    });
  }
  if (driverNamed(name, drivers) !== undefined)
    throw new SregistryError('EXISTS', `"${name}" is the name of a driver already`, {
      hint: 'sregistry backend ls --capabilities lists them',
    });
}

/** Throws NOT_FOUND outside a checkout: an installed sregistry has no tests and docs to add to. */
async function checkCheckout(checkout: string): Promise<void> {
  if (await isThere(join(checkout, 'src/backends', TEMPLATE))) return;
  throw new SregistryError('NOT_FOUND', `${checkout} is not a checkout of sregistry`, {
    hint: 'run it where you have cloned the repository, or name that folder with --dir',
  });
}

async function filesOf(checkout: string): Promise<string[]> {
  const code = (await readdir(join(checkout, 'src/backends', TEMPLATE))).sort();
  return [
    ...code.map((file) => `src/backends/${TEMPLATE}/${file}`),
    `test/backends/${TEMPLATE}.test.ts`,
    `docs/backends/${TEMPLATE}.md`,
  ];
}

async function checkAbsent(checkout: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (await isThere(join(checkout, path)))
      throw new SregistryError('EXISTS', `${path} exists already`, { hint: 'choose another name' });
  }
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function renamed(text: string, name: string): string {
  return text.replaceAll(TEMPLATE, name).replaceAll(TEMPLATE.toUpperCase(), upperSnake(name));
}

const IMPORT = /^import .* from '(.*)';$/;

/** The table of drivers with one driver more: its import in order, and its entry at the end. */
function registered(table: string, name: string): string {
  const identifier = name.replace(/-(.)/g, (_dash, letter: string) => letter.toUpperCase());
  const lines = table.split('\n');
  const imports = lines.filter((line) => IMPORT.test(line));
  const path = (line: string) => IMPORT.exec(line)?.[1] ?? '';
  const more = `import { declaration as ${identifier} } from './${name}/declaration.ts';`;
  const sorted = [...imports, more].sort((one, other) => path(one).localeCompare(path(other), 'en'));
  lines.splice(lines.indexOf(imports[0] ?? ''), imports.length, ...sorted);
  const entry = `  { ...${identifier}, load: async () => (await import('./${name}/index.ts')).default },`;
  lines.splice(lines.lastIndexOf('];'), 0, entry);
  return lines.join('\n');
}
