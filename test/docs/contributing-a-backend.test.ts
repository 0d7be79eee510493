/** Follows docs/contributing-a-backend.md word by word: its blocks of code are files to write and commands to run. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryCheckout } from '../helpers/checkout.ts';

const ROOT = join(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/contributing-a-backend.md'), 'utf8');

/** ```` ```ts path ```` is a file, ```` ```sh ```` are commands. */
const BLOCK = /^```(ts|sh) ?(\S*)\n(.*?)^```$/gms;

async function run(folder: string, script: string): Promise<string> {
  const path = [join(folder, 'path'), join(ROOT, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const options = { cwd: folder, env: { ...process.env, PATH: path } };
  const { stdout } = await promisify(execFile)('bash', ['-e', '-c', `(${script}) 2>&1`], options).catch(
    (error) => {
      throw new Error(`${script} failed:\n${error.stdout}`);
    },
  );
  return stdout;
}

test.each([
  ['a fresh checkout', ''],
  ['a built checkout', 'npm run --silent build'],
])(
  'whoever follows the page word by word in %s has a driver that passes its test and the linter',
  async (_kind, prepare) => {
    const folder = await temporaryCheckout();
    if (prepare) await run(folder, prepare);
    await mkdir(join(folder, 'path'));
    await symlink(join(folder, 'bin/sregistry.js'), join(folder, 'path/sregistry'));
    let output = '';
    for (const [, kind, path = '', text = ''] of PAGE.matchAll(BLOCK)) {
      if (kind === 'sh') output = await run(folder, text);
      else {
        await mkdir(dirname(join(folder, path)), { recursive: true });
        await writeFile(join(folder, path), text);
      }
    }
    expect(output).toMatch(/Tests .* passed/);
    expect(await run(folder, 'sregistry backend ls --capabilities')).toMatch(/^shelf\t/m);
    await run(
      folder,
      'biome check --vcs-enabled=false --error-on-warnings src/backends/shelf test/backends/shelf.test.ts',
    );
    const include = ['src/backends/shelf', 'test/backends/shelf.test.ts'];
    await writeFile(join(folder, 'shelf.json'), JSON.stringify({ extends: './tsconfig.json', include }));
    await run(folder, 'tsc --noEmit --project shelf.json');
  },
  180_000,
);

test('every helper that the page names is where the page says', () => {
  const table = PAGE.slice(PAGE.indexOf('## Helpers'), PAGE.indexOf('Further helpers'));
  const rows = table.split('\n').filter((line) => /\.ts` \|$/.test(line));
  expect(rows.length).toBeGreaterThan(10);
  const missing = rows.flatMap((row) => {
    const [, , here = '', from = ''] = row.split('|');
    const files = [...from.matchAll(/`(.+?)`/g)].map(([, file = '']) => join(ROOT, 'src', file));
    const source = files.map((file) => readFileSync(file, 'utf8')).join('');
    const names = [...here.matchAll(/`(?:http\.|settings\.)?(\w+)/g)].map(([, name = '']) => name);
    return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(source));
  });
  expect(missing).toEqual([]);
});
