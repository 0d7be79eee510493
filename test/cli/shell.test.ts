import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Client } from '../../src/client/index.ts';
import { getClient } from '../../src/client/index.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry } from '../servers/docker-registry.ts';
import { Home } from './home.ts';

const SREGISTRY = join(import.meta.dirname, 'sregistry.ts');

let home: Home;
beforeEach(() => {
  home = new Home();
  mkdirSync(home.path('shelf'));
  configure({ shelf: { driver: 'dir', base: home.path('shelf') } });
});
afterEach(() => home[Symbol.dispose]());

function configure(secrets: object): void {
  writeFileSync(home.path('.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
}

/** Calls of a client and what they answer, as one module that the shell and the test both import. */
const CALLS = `
  export default async function calls(client) {
    const failed = (error) => ({ code: error.code, message: error.message, hint: error.hint });
    const pushed = await client.push('image.sif', 'demo/hello:1.0');
    const pulled = await client.pull('demo/hello:1.0');
    return {
      name: client.clientName,
      uri: pushed.uri,
      path: pulled.path,
      found: await client.search('hello'),
      facts: await client.inspect(pushed.uri),
      metadata: await client.getMetadata('image.sif'),
      images: (await client.images()).map(({ modified, ...image }) => image),
      settings: await client.getSettings(client.clientName),
      none: await client.pull('demo/none').catch(failed),
      share: await client.share('demo/hello:1.0').catch(failed),
      catalog: (await client.http.get('/v2/_catalog')).json(),
      deleted: (await client.delete('demo/hello:1.0')).digest,
    };
  }
`;

needs({ registry: true })('A client', () => {
  test('answers the same in the shell and in the library.', async () => {
    const registry = await startRegistry();
    try {
      configure({ lab: { driver: 'oci', base: registry.url } });
      home.image('small-gzip.sif', 'image.sif');
      writeFileSync(home.path('calls.mjs'), CALLS);
      home.env.SREGISTRY_CLIENT = 'lab';
      const script = `import calls from './calls.mjs'; console.log(JSON.stringify(await calls(client)));`;
      const { code, stdout, stderr } = await home.withInput(script, 'shell');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });

      const before = process.cwd();
      process.chdir(home.folder);
      try {
        await using client = await getClient(undefined, { env: home.env });
        const calls: (client: Client) => Promise<object> = (await import(home.path('calls.mjs'))).default;
        const answers = await calls(client);
        expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(answers)));
        expect(answers).toMatchObject({
          name: 'lab',
          uri: 'lab://demo/hello:1.0',
          found: [{ uri: 'lab://demo/hello:1.0' }],
          none: { code: 'NOT_FOUND' },
          share: { code: 'UNSUPPORTED' },
          catalog: { repositories: ['demo/hello'] },
        });
      } finally {
        process.chdir(before);
      }
    } finally {
      await registry.remove();
    }
  });
});

describe('A script', () => {
  const run = (script: string) => home.withInput(script, 'shell', 'shelf');

  test('prints what it prints, and nothing else.', async () => {
    const script = `
      const { uri } = await client.push('${home.image()}', 'demo/hello:1.0');
      1 + 1;
      console.log(uri, parseImageName(removeUri(uri)).tag);
      bot.warning('careful');
    `;
    expect(await run(script)).toEqual({
      code: 0,
      stdout: 'shelf://demo/hello:1.0 1.0\n',
      stderr: 'WARNING careful\n',
    });
  });

  test('may import modules of its folder, and the library it runs in.', async () => {
    writeFileSync(home.path('two.mjs'), 'export default 2;');
    const script = `
      import { getClient as same, SregistryError } from 'sregistry';
      import two from './two.mjs';
      const { three } = await Promise.resolve({ three: 3 });
      const error = await client.pull('demo/none').catch((error) => error);
      console.log(same === getClient, two, three, error instanceof SregistryError);
    `;
    expect((await run(script)).stdout).toBe('true 2 3 true\n');
  });

  test('that fails ends the shell with 1, and its place is told.', async () => {
    const thrown = await run('console.log(1);\n\n  throw new TypeError("oops");\nconsole.log(2);');
    expect(thrown).toMatchObject({ code: 1, stdout: '1\n' });
    expect(thrown.stderr).toMatch(/^ERROR TypeError: oops\n.*stdin:3:9/);
    const malformed = await run('console.log(1);\nconst a = ;');
    expect(malformed).toMatchObject({ code: 1, stdout: '' });
    expect(malformed.stderr).toMatch(/stdin:2\nconst a = ;\n {10}\^/);
  });

  test('in which the library fails ends the shell with its error and hint.', async () => {
    const { code, stderr } = await run('await client.pull("demo/none:1")');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ERROR shelf:\/\/demo\/none:1 does not exist .*\nHint: /);
  });

  test('never gets a client of a backend that does not exist.', async () => {
    const { code, stdout, stderr } = await home.withInput('console.log(1)', 'shell', 'shelv');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('Did you mean shelf?');
  });
});

/** Enters each line when the shell or a question waits for one; what the screen shows in the end. `script` gives the terminal. */
async function type(...lines: string[]): Promise<string> {
  const command = `${process.execPath} ${SREGISTRY} shell shelf`;
  const env = { ...home.env, TERM: 'xterm', NO_COLOR: '1' };
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: home.folder, env });
  let screen = '';
  let answered = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    screen = stripVTControlCharacters(screen + chunk);
    if (!/\n(?:shelf> |Code: )$/.test(screen.slice(answered))) return;
    answered = screen.length;
    child.stdin.write(`${lines.shift()}\n`);
  });
  await once(child, 'close');
  return screen;
}

describe('On a terminal', () => {
  test('the shell greets, awaits, prints values and errors, and remembers what was entered.', async () => {
    await home.ok('push', home.image(), '--name', 'shelf://demo/hello:1.0');
    const screen = await type(
      'const [found] = await client.search("hello")',
      'found.uri',
      'await client.pull("demo/none")',
      '.exit',
    );
    expect(screen).toContain(
      `[client|shelf] [database|sqlite:///${home.folder}/.singularity/sregistry.db] [target|${home.folder}/shelf]`,
    );
    expect(screen).toContain("'shelf://demo/hello:1.0'");
    expect(screen).toMatch(
      /NOT_FOUND: shelf:\/\/demo\/none:latest does not exist .*\s+Hint: sregistry search/,
    );
    const history = home.path('.local/state/sregistry/shell-history');
    expect(readFileSync(history, 'utf8')).toContain('client.search("hello")');
    expect(statSync(history).mode & 0o777).toBe(0o600);
  });

  test('the shell lets a client ask for a code, and reads on after it.', async () => {
    const screen = await type(
      'const code = await client.authFlow("https://example.org/allow")',
      'pasted',
      'code.length + " letters"',
      '.exit',
    );
    expect(screen).toContain('Open this address in a browser, allow access:\r\nhttps://example.org/allow');
    expect(screen).toContain("'6 letters'");
  });

  test('the shell hides secrets in what it prints.', async () => {
    configure({
      shelf: { driver: 'dir', base: home.path('shelf'), SREGISTRY_SHELF_TOKEN: 'not-for-screens' },
    });
    const screen = await type(
      'await client.getSetting("token")',
      'await client.getSettings("shelf")',
      '.exit',
    );
    expect(screen).toContain("SREGISTRY_SHELF_TOKEN: '***'");
    expect(screen).not.toContain('not-for-screens');
  });
});
