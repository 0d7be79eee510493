/** What the build loads when a command starts. Time on a busy machine says little; the files that are opened are always the same. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const EXECUTABLE = join(ROOT, 'bin/sregistry.js');

/** Writes the name of each module that is loaded to the file named by LOADED. */
const RECORDER = `
  import { appendFileSync } from 'node:fs';
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      appendFileSync(process.env.LOADED, url + '\\n');
      return next(url, context);
    },
  });
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sregistry-start-'));
  writeFileSync(join(folder, 'recorder.mjs'), RECORDER);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The modules that `sregistry ARGS...` loads. */
function loaded(...args: string[]): string[] {
  const list = join(folder, `${args.join('-')}.list`);
  execFileSync(process.execPath, ['--import', join(folder, 'recorder.mjs'), EXECUTABLE, ...args], {
    env: { HOME: folder, LOADED: list },
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 60_000,
  });
  return readFileSync(list, 'utf8').trim().split('\n');
}

const builtIns = (modules: string[]) => modules.filter((url) => url.startsWith('node:'));
const sizeOf = (modules: string[]) =>
  modules
    .filter((url) => url.startsWith('file:'))
    .reduce((sum, url) => sum + readFileSync(new URL(url)).length, 0);

test('a script of the shell imports the library that is built', () => {
  const script =
    "import { version, SregistryError } from 'sregistry'; console.log(version, SregistryError.name)";
  const output = execFileSync(process.execPath, [EXECUTABLE, 'shell'], {
    input: script,
    env: { HOME: folder },
    encoding: 'utf8',
    timeout: 60_000,
  });
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  expect(output).toBe(`${version} SregistryError\n`);
});

describe('a command that asks no service', () => {
  test.each(['images', 'version'])('loads only what it uses: %s', (command) => {
    const modules = loaded(command);
    expect(modules).toContainEqual(expect.stringContaining('/dist/cli/main.js'));
    for (const builtIn of ['node:http', 'node:https', 'node:tls', 'node:zlib', 'node:child_process'])
      expect(builtIns(modules)).not.toContain(builtIn);
    expect(modules.filter((url) => url.startsWith('file:')).length).toBeLessThan(60);
    expect(sizeOf(modules)).toBeLessThan(600_000);
  });

  test('loads SQLite only if it reads the library', () => {
    const isNative = (url: string) => url.includes('/better-sqlite3/');
    expect(loaded('images').some(isNative)).toBe(true);
    expect(loaded('version').some(isNative)).toBe(false);
  });
});
