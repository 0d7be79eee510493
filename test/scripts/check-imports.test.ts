import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../helpers/temporary.ts';

const SCRIPT = join(import.meta.dirname, '../../scripts/check-imports.ts');

/** What the script says of a checkout with these files. */
function check(files: Record<string, string>): { code: number | null; breaches: string } {
  const folder = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const { status, stderr } = spawnSync(process.execPath, ['--no-warnings', SCRIPT, folder], {
    encoding: 'utf8',
  });
  return { code: status, breaches: stderr };
}

test('a checkout whose imports go one way passes', () => {
  expect(
    check({
      'src/base/errors.ts': '',
      'src/cache/cache.ts': "import { LRUCache } from 'lru-cache';\nimport '../base/errors.ts';",
      'src/cache/entry.ts': "import './cache.ts';\nimport '../base/errors.ts';",
    }),
  ).toEqual({ code: 0, breaches: '' });
});

test('a circle of imports fails, however long it is, for types and for what is imported when it is needed', () => {
  expect(
    check({
      'src/cache/a.ts': "import { b } from './b.ts';",
      'src/cache/b.ts': "import type { C } from './parts/c.ts';",
      'src/cache/parts/c.ts': "export const load = () => import('../a.ts');",
      'src/cache/d.ts': "import './a.ts';",
    }),
  ).toEqual({
    code: 1,
    breaches: 'circle of imports: src/cache/a.ts > src/cache/b.ts > src/cache/parts/c.ts > src/cache/a.ts\n',
  });
});

test('an import from a room above, of a package of one file alone, and from the tests fail', () => {
  const { code, breaches } = check({
    'src/cache/cache.ts': "import '../client/session.ts';",
    'src/client/session.ts': "import { request } from 'undici';\nimport '../../test/helpers.ts';",
  });
  expect(code).toBe(1);
  expect(breaches.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^src\/cache\/cache\.ts: cache may not import from client/),
    expect.stringMatching(/^src\/client\/session\.ts: only src\/backends\/ may import undici/),
    expect.stringMatching(/^src\/client\/session\.ts: imports test\/helpers\.ts/),
  ]);
});

test('a file that finds another one by its own URL fails, and one that loads a package does not', () => {
  const { code, breaches } = check({
    'src/base/package.ts': 'export const here = import.meta.url;',
    'src/base/hash.ts': "new Worker(new URL('./hash-job.ts', import.meta.url));",
    'src/image/thumbnail.ts': "const robot = join(import.meta.dirname, '../../assets/robot.png');",
    'src/fs/fuse.ts':
      "createRequire(import.meta.url)('fuse-native');\nfindPackageJSON(module, import.meta.url);",
  });
  expect(code).toBe(1);
  expect(breaches.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^src\/base\/hash\.ts: only src\/base\/package\.ts may find files/),
    expect.stringMatching(/^src\/image\/thumbnail\.ts: only src\/base\/package\.ts may find files/),
  ]);
});
