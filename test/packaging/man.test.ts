/** The man pages, as the programs that show and check them take them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { manPages } from '../../packaging/man/pages.ts';
import { bold, italic, Page } from '../../packaging/man/roff.ts';
import { COMMANDS, namesOf } from '../../src/cli/commands.ts';
import { needs } from '../helpers/skip.ts';

const DATE = new Date('2026-02-03');
const CLI = join(import.meta.dirname, '../cli/sregistry.ts');

let folder: string;
let files: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sregistry-man-'));
  const pages = await manPages(DATE);
  for (const [path, text] of pages) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  files = [...pages.keys()].map((path) => join(folder, path));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What groff shows for these characters unless they are escaped. Before its version 1.23 the macros of man keep some as they are. */
const UNESCAPED = ['- \\[hy]', "' \\[cq]", '` \\[oq]', '^ \\[u02C6]', '~ \\[u02DC]'];

/** The page as text, without bold and underlines, in lines of any length. */
function shown(page: string): string {
  const words = ['-man', '-Tutf8', '-P-cbou', '-rLL=1000m'];
  const definitions = UNESCAPED.map((each) => `.char ${each}`).join('\n');
  const input = page.replace(/^\.TH .*$/m, (title) => `${title}\n${definitions}`);
  return execFileSync('groff', words, { input, encoding: 'utf8' });
}

const help = (...words: string[]) =>
  execFileSync(process.execPath, [CLI, ...words, '--help'], { encoding: 'utf8' });

const inOneLine = (text: string) => text.replace(/\s+/g, ' ').trim();

needs({ man: true })('the man pages', () => {
  test('give mandoc and groff nothing to complain of', () => {
    const { stdout, stderr, status } = spawnSync('mandoc', ['-Tlint', ...files], { encoding: 'utf8' });
    expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 0 });
    const groff = spawnSync('groff', ['-ww', '-man', '-Tutf8', '-z', ...files], { encoding: 'utf8' });
    expect({ stderr: groff.stderr, status: groff.status }).toEqual({ stderr: '', status: 0 });
  });

  test('are found and shown by man', () => {
    const env = { PATH: process.env.PATH, MANPATH: folder, MANWIDTH: '100', LC_ALL: 'C.UTF-8' };
    const man = (...words: string[]) => execFileSync('man', words, { env, encoding: 'utf8' });
    expect(man('sregistry')).toContain('sregistry - Container images of every registry');
    for (const { describe, ...entry } of COMMANDS)
      expect(inOneLine(man('1', `sregistry-${namesOf(entry)[0]}`))).toContain(inOneLine(describe));
    expect(man('8', 'mount.fuse.sregistry')).toContain('cache_size=value');
  });

  test('have every option, default and example of --help', async () => {
    const pages = await manPages(DATE);
    for (const entry of COMMANDS) {
      const [name = ''] = namesOf(entry);
      const page = inOneLine(shown(pages.get(`man1/sregistry-${name}.1`) as string));
      const module = (await entry.load()).default;
      const lines =
        'run' in module ? [[name]] : module.subcommands.map((each) => [name, namesOf(each)[0] as string]);
      for (const words of lines) {
        const text = help(...words);
        const options = [...text.matchAll(/^ +((?:-\w, )?--[\w-]+(?:, --[\w-]+)*)/gm)].map(
          ([, each]) => each,
        );
        expect(options.length).toBeGreaterThan(4);
        for (const option of options) expect(page).toContain(` ${option} `);
        for (const [, line] of text.matchAll(/^ {2}(sregistry .*)$/gm))
          expect(page).toContain(line && inOneLine(line));
        for (const [, preset] of inOneLine(text).matchAll(/\[default: ([^"[\]]+)\]/g))
          expect(page).toContain(`Default: ${preset}.`);
      }
    }
  }, 120_000);

  test('show each text as it is, whatever roff would take it for', () => {
    const header = { name: 'sregistry-x', section: 1, date: DATE, source: 'sregistry 0' } as const;
    const nasty = [
      '.SH no heading',
      "'br",
      '...',
      '\\fBnot bold\\fR',
      '\\',
      'a\\',
      '--no-x -f',
      '"quoted" \'so\'',
      '`^~',
      '%50 $x',
    ];
    const word = fc
      .string({ unit: fc.constantFrom(...'.\'"\\-`^~ab(f[]*$ü€ ') })
      .filter((each) => each.trim() !== '');
    const texts = [...nasty, ...fc.sample(word, { numRuns: 300, seed: 1 }), `${'long '.repeat(40)}. end`];
    for (const add of [
      (page: Page, text: string) => page.paragraph(text),
      (page: Page, text: string) => page.paragraph(bold(text)),
      (page: Page, text: string) => page.item([italic(text)], 'x'),
      (page: Page, text: string) => page.example(text),
      (page: Page, text: string) => page.subsection(text),
    ]) {
      const page = new Page(header).section('Texts');
      texts.forEach((text, index) => {
        add(page, text).paragraph(`mark${index}`);
      });
      const parts = shown(page.toString())
        .replace(/^.*?\nTexts?\n/is, '')
        .split(/mark\d+/)
        .slice(0, -1)
        .map(inOneLine);
      expect(parts.map((part) => part.replace(/ x$/, ''))).toEqual(texts.map(inOneLine));
    }
  });
});
