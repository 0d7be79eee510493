/**
 * The man pages: sregistry(1), one for each command, and mount.fuse.sregistry(8). They are made of what `--help` is made of, the
 * table of commands and what each command declares.
 */
import type { Options } from 'yargs';
import { version } from '../../src/base/version.ts';
import type { Command, Subcommand } from '../../src/cli/command.ts';
import { COMMANDS, type CommandEntry, namesOf } from '../../src/cli/commands.ts';
import { EXIT_MEANINGS, globalOptions, HELP_COMMAND, INTRODUCTION } from '../../src/cli/top-level.ts';
import { declaredBy, type Positional } from './declared.ts';
import { mountHelperPage } from './mount-helper.ts';
import { bold, italic, Page, type PageHeader, type Piece } from './roff.ts';

/** Where yargs puts an option that names no group. */
const OPTIONS = 'Options:';

/** The pages by their place in a folder `man`: `man1/sregistry-mount.1`. They bear the date. */
export async function manPages(date: Date): Promise<Map<string, string>> {
  const common = { date, source: `sregistry ${version}` };
  const pages = new Map([['man1/sregistry.1', mainPage({ ...common, name: 'sregistry', section: 1 })]]);
  for (const entry of COMMANDS) {
    const name = pageOf(entry);
    pages.set(`man1/${name}.1`, await commandPage(entry, { ...common, name, section: 1 }));
  }
  const mount = COMMANDS.find((entry) => namesOf(entry).includes('mount')) as CommandEntry;
  const { options } = declaredBy((await mount.load()).default as Command);
  const helper = { ...common, name: 'mount.fuse.sregistry', section: 8 } as const;
  pages.set('man8/mount.fuse.sregistry.8', mountHelperPage(helper, options));
  return pages;
}

const pageOf = (entry: CommandEntry) => `sregistry-${namesOf(entry)[0]}`;

function mainPage(header: PageHeader): string {
  const page = new Page(header)
    .section('Name')
    .paragraph(`sregistry - ${INTRODUCTION.replace(/\.$/, '')}`)
    .section('Synopsis')
    .paragraph(bold('sregistry'), ' ', italic('command'), ' [', italic('options'), ']')
    .section('Description')
    .paragraph(INTRODUCTION, ' Each command has a page of its own.')
    .section('Commands');
  for (const { command, describe } of [...COMMANDS, HELP_COMMAND])
    page.item(synopsisOf(`sregistry ${command}`), `${describe}.`);
  addOptions(page.section('Options'), globalOptions([]));
  addExitStatus(page);
  addSeeAlso(page, [
    ...COMMANDS.map((entry): [string, number] => [pageOf(entry), 1]),
    ['mount.fuse.sregistry', 8],
  ]);
  return page.toString();
}

async function commandPage(entry: CommandEntry, header: PageHeader): Promise<string> {
  const module = (await entry.load()).default;
  const page = new Page(header)
    .section('Name')
    .paragraph(`${header.name} - ${entry.describe}`)
    .section('Synopsis');
  const [word] = namesOf(entry);
  if ('run' in module) {
    page.paragraph(...synopsisOf(`sregistry ${entry.command}`), ...OPTIONAL);
    addDescription(page.section('Description'), entry);
    addDeclared(page, module, (title) => page.section(title));
    if (module.examples.length > 0) addExamples(page.section('Examples'), module);
  } else {
    for (const { command } of module.subcommands)
      page.line(...synopsisOf(`sregistry ${word} ${command}`), ...OPTIONAL);
    addDescription(page.section('Description'), entry);
    page.section('Commands');
    for (const subcommand of module.subcommands) addSubcommand(page, `sregistry ${word}`, subcommand);
  }
  addOptions(page.section('Global options'), globalOptions(entry.letters ?? []));
  addExitStatus(page);
  addSeeAlso(page, [['sregistry', 1], ...(word === 'mount' ? [['mount.fuse.sregistry', 8] as const] : [])]);
  return page.toString();
}

const OPTIONAL: readonly Piece[] = [' [', italic('options'), ']'];

function addSubcommand(page: Page, before: string, subcommand: Subcommand): void {
  page.subsection(`${before} ${subcommand.command}`);
  addDescription(page, subcommand);
  addDeclared(page, subcommand, () => page);
  addExamples(page, subcommand);
}

function addDescription(
  page: Page,
  { describe, aliases = [] }: Pick<CommandEntry, 'describe' | 'aliases'>,
): void {
  page.paragraph(`${describe}.`);
  if (aliases.length > 0) page.paragraph('It is also called ', ...joined(aliases.map(bold), ', '), '.');
}

/** The positionals, then the options by their groups, each below the heading that `head` adds. */
function addDeclared(page: Page, command: Command, head: (title: string) => Page): void {
  const { positionals, options } = declaredBy(command);
  if (Object.keys(positionals).length > 0) head('Arguments');
  for (const [name, spec] of Object.entries(positionals)) page.item([italic(name)], sentences(spec));
  const groups = Map.groupBy(Object.entries(options), ([, { group = OPTIONS }]) => group);
  for (const [group, members] of groups) {
    head(group.replace(/:$/, ''));
    addOptions(page, Object.fromEntries(members));
  }
}

function addOptions(page: Page, options: Readonly<Record<string, Options>>): void {
  for (const [name, spec] of Object.entries(options)) page.item(termOf(name, spec), sentences(spec));
}

/** `-o, --options value`. */
function termOf(name: string, { alias = [], type }: Options): Piece[] {
  const names = [name, ...[alias].flat()].sort(
    (one, other) => Math.min(one.length, 2) - Math.min(other.length, 2),
  );
  const dashed = names.map((each) => bold(each.length === 1 ? `-${each}` : `--${each}`));
  return [...joined(dashed, ', '), ...(type === 'boolean' ? [] : [' ', italic('value')])];
}

function sentences({ describe, choices, default: preset, defaultDescription }: Options | Positional): string {
  const isPreset = preset !== undefined && !(Array.isArray(preset) && preset.length === 0);
  const shown = defaultDescription ?? (isPreset ? String(preset) : undefined);
  return [
    describe,
    choices === undefined ? undefined : `One of ${[choices].flat().join(', ')}`,
    shown === undefined ? undefined : `Default: ${shown}`,
  ]
    .filter((sentence) => sentence !== undefined)
    .map((sentence) => `${sentence}.`)
    .join(' ');
}

function addExamples(page: Page, { examples }: Command): void {
  for (const [line, what] of examples) page.paragraph(`${what}:`).example(line);
}

function addExitStatus(page: Page): void {
  page.section('Exit status');
  for (const [code, meaning] of EXIT_MEANINGS) page.item([bold(String(code))], `${meaning}.`);
}

function addSeeAlso(page: Page, others: readonly (readonly [name: string, section: number])[]): void {
  const pieces = others.map(([name, section], index) => [
    index === 0 ? '' : ', ',
    bold(name),
    `(${section})`,
  ]);
  page.section('See also').paragraph(...pieces.flat());
}

/** `sregistry pull <uri..>` with its words in bold and its arguments in italics. */
function synopsisOf(usage: string): Piece[] {
  const words = usage.split(' ').map((word): Piece[] => {
    const [, open, name, dots] = /^([<[])([^.\]>]+)(\.\.)?[\]>]$/.exec(word) ?? [];
    if (name === undefined) return [bold(word)];
    const argument = [italic(name), ...(dots === undefined ? [] : [' ...'])];
    return open === '[' ? ['[', ...argument, ']'] : argument;
  });
  return words.flatMap((word, index) => (index === 0 ? word : [' ', ...word]));
}

const joined = (pieces: readonly Piece[], separator: string): Piece[] =>
  pieces.flatMap((piece, index) => (index === 0 ? [piece] : [separator, piece]));
