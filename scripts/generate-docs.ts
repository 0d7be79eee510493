/**
 * Writes the tables of docs/backends/*.md from what the drivers declare. With `--check` it writes nothing, and exits 1 if a page
 * is not as it would be written.
 *
 * A page names its driver: `<!-- options: s3 -->`, and the table of options stands between that line and `<!-- /options -->`.
 * Between `<!-- capabilities -->` and `<!-- /capabilities -->` stands what each driver can do.
 */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CAPABILITIES, type Driver } from '../src/backends/backend.ts';
import { drivers } from '../src/backends/registry.ts';
import { declaration as template } from '../src/backends/template/declaration.ts';
import { type DriverDeclaration, defaultInstanceOf } from '../src/settings/instances.ts';
import type { OptionSpec } from '../src/settings/options.ts';
import { variablesOf } from '../src/settings/resolve.ts';

const CAPABILITY_BLOCK = /(<!-- capabilities -->\n).*?(<!-- \/capabilities -->)/gs;
const BLOCK = /(<!-- options: ([a-z0-9-]+) -->\n).*?(<!-- \/options -->)/gs;

const root = join(import.meta.dirname, '..');
const all: readonly Omit<Driver, 'create'>[] = [...drivers, template];
const outdated: string[] = [];

for (const file of globSync('docs/backends/*.md', { cwd: root }).sort()) {
  const path = join(root, file);
  const text = readFileSync(path, 'utf8');
  const written = text
    .replace(BLOCK, (_block, begin, name, end) => begin + tableOf(name, file) + end)
    .replace(CAPABILITY_BLOCK, (_block, begin, end) => begin + capabilityTable() + end);
  if (written === text) continue;
  outdated.push(file);
  if (!process.argv.includes('--check')) writeFileSync(path, written);
}

if (process.argv.includes('--check') && outdated.length > 0) {
  console.error(`not up to date: ${outdated.join(', ')}; run: node scripts/generate-docs.ts`);
  process.exit(1);
}

function capabilityTable(): string {
  const rows = drivers.map(({ name, capabilities }) => [
    `\`${name}\``,
    ...CAPABILITIES.map((capability) => (capabilities.includes(capability) ? 'yes' : '')),
  ]);
  const header = ['driver', ...CAPABILITIES];
  const lines = [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return [...lines, ''].join('\n');
}

function tableOf(name: string, file: string): string {
  const driver = all.find((candidate) => candidate.name === name);
  if (driver === undefined) throw new Error(`${file}: there is no driver ${name}`);
  const rows = Object.entries(driver.options).map(([option, spec]) => rowOf(driver, option, spec));
  const table = ['| option | environment | what it is |', '| --- | --- | --- |', ...rows];
  return [...table, ...packagesOf(driver), ''].join('\n');
}

function packagesOf({ dependencies = [] }: Pick<Driver, 'dependencies'>): string[] {
  if (dependencies.length === 0) return [];
  const items = dependencies.map(({ module, purpose }) => `- \`${module}\` ${purpose}`);
  const intro =
    'A checkout has the packages that this driver needs. Where sregistry is installed from npm, add those that you use:';
  return ['', intro, '', ...items];
}

function rowOf(driver: DriverDeclaration, option: string, spec: OptionSpec): string {
  const instance = defaultInstanceOf(driver);
  const [own, ...foreign] = variablesOf({ instance, driver: instance }, option, spec);
  const variables = [...new Set([...foreign, own])].map((variable) => `\`${variable}\``).join(', ');
  const cells = [`\`${option}\`${spec.required ? ', required' : ''}`, variables, describe(spec)];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function describe({
  describe: what,
  example,
  default: preset,
  secret,
  type,
  unit,
  choices,
}: OptionSpec): string {
  const additions = [
    type === 'boolean' ? 'yes or no' : undefined,
    unit === undefined ? undefined : `in ${unit}, or with a unit`,
    choices === undefined ? undefined : `one of ${choices.map((choice) => `\`${choice}\``).join(', ')}`,
    example === undefined ? undefined : `such as \`${example}\``,
    preset === undefined ? undefined : `default \`${preset}\``,
    secret ? 'secret' : undefined,
  ].filter((addition) => addition !== undefined);
  return additions.length === 0 ? what : `${what} (${additions.join('; ')})`;
}
