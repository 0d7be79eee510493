import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { version } from '../../src/base/version.ts';
import { COMMANDS, namesOf } from '../../src/cli/commands.ts';
import { main } from '../../src/cli/main.ts';
import { startFaultServer } from '../servers/http-faults.ts';
import { finish, Home } from './home.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

test('Without arguments the help goes to stdout, and that is no failure.', async () => {
  const { code, stdout, stderr } = await home.sregistry();
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (const entry of COMMANDS) expect(stdout).toContain(`sregistry ${namesOf(entry)[0]}`);
});

test('The version goes to stdout.', async () => {
  expect(await home.sregistry('version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  expect(await home.json('version')).toMatchObject({ version });
});

test.each([[[]], [['pull']], [['backend']], [['backend', 'add']]])(
  '-h shows the help of %s.',
  async (words) => {
    const short = await home.sregistry(...words, '-h');
    expect(short).toEqual(await home.sregistry(...words, '--help'));
    expect(short).toMatchObject({ code: 0, stderr: '' });
    expect(short.stdout).toContain(['sregistry', ...words].join(' '));
  },
);

test('Options may stand in front of a command and of a subcommand.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:1');
  await home.ok('backend', '-f', 'add', 'lab', 'base', 'http://localhost:2');
  const stdout = await home.ok('--json', 'backend', '--quiet', 'ls', 'lab');
  expect(JSON.parse(stdout)).toMatchObject({ options: { base: { value: 'http://localhost:2' } } });
});

describe('A search', () => {
  test('takes several words.', async () => {
    await home.ok('add', home.image(), '--name', 'demo/numpy:cuda', '--copy');
    const found = [{ uri: expect.stringMatching(/^local:\/\/demo\/numpy:cuda/) }];
    expect(await home.json('search', 'numpy', 'cuda')).toMatchObject(found);
    expect(await home.json('search', 'numpy', 'rocm')).toEqual([]);
    expect(await home.json('images', 'cuda', 'demo')).toMatchObject(found);
    expect(await home.json('images', 'cuda', 'rocm')).toEqual([]);
  });

  test('that no service answered fails, whatever the library on this machine says.', async () => {
    await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:1');
    const { code, stderr } = await home.sregistry('search', 'numpy');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('lab could not be searched'),
    });
  });

  test('of a client that does not exist fails.', async () => {
    home.env.SREGISTRY_CLIENT = 'bogus';
    const { code, stderr } = await home.sregistry('search', 'numpy');
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('"bogus"') });
  });

  test('where only the library is configured succeeds.', async () => {
    expect(await home.sregistry('search', 'numpy')).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

describe('A command line that makes no sense', () => {
  test('ends with 2, its message on stderr, and the nearest command.', async () => {
    const { code, stdout, stderr } = await home.sregistry('pul', 'lab://demo/x');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('There is no command "sregistry pul"');
    expect(stderr).toContain('Did you mean pull?');
  });

  test('that the Python tool knows is told what to use instead.', async () => {
    const { code, stderr } = await home.sregistry('build', '--name', 'lab/hello', 'Singularity');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('apptainer build') });
  });

  test.each(['backend', 'auth'])('of another program is not mentioned below %s.', async (group) => {
    const { code, stderr } = await home.sregistry(group, 'build');
    expect(code).toBe(2);
    expect(stderr).toContain(`There is no command "sregistry ${group} build"`);
    expect(stderr).not.toContain('apptainer');
  });

  test('ends with 2 where a command below another does not exist.', async () => {
    const { code, stderr } = await home.sregistry('backend', 'lss');
    expect(code).toBe(2);
    expect(stderr).toContain('Did you mean ls?');
  });

  test.each([
    [['pull']],
    [['backend']],
    [['pull', 'lab://x', '--nmae', 'y']],
    [['pull', 'lab://x', 'lab://y', '--name', 'z']],
    [['search', '--label', 'nothing']],
    [['mount', '-o', 'bogus']],
  ])('ends with 2: %s', async (args) => {
    expect((await home.sregistry(...args)).code).toBe(2);
  });
});

describe('A failure', () => {
  test('ends with 1: message, then hint, and no stack.', async () => {
    const { code, stdout, stderr } = await home.sregistry('get', 'demo/none');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe(
      'ERROR demo/none is not in the library\n' +
        'Hint: sregistry images lists what the library has; sregistry pull adds to it\n',
    );
  });

  test('shows its stack with --debug.', async () => {
    const { stderr } = await home.sregistry('get', 'demo/none', '--debug');
    expect(stderr).toMatch(/SregistryError: demo\/none is not in the library\s+at /);
  });

  test('keeps its message and its hint with --quiet.', async () => {
    const { code, stderr } = await home.sregistry('--quiet', 'get', 'demo/none');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^ERROR demo.none is not in the library\nHint: /),
    });
  });
});

test('When nobody reads its output, it ends without a word.', async () => {
  const child = home.start('completion');
  child.stdout.destroy();
  child.stderr.setEncoding('utf8');
  let said = '';
  child.stderr.on('data', (text: string) => {
    said += text;
  });
  const [code] = await once(child, 'close');
  expect({ code, said }).toEqual({ code: 0, said: '' });
});

test('Warnings of Node and of libraries are traces, not messages.', async () => {
  writeFileSync(
    home.path('warn.cjs'),
    `setInterval(() => process.emitWarning('for developers'), 1).unref();
    setTimeout(() => {}, 300);`,
  );
  home.env.NODE_OPTIONS = `--require ${home.path('warn.cjs')}`;
  expect((await home.sregistry('backend', 'ls')).stderr).not.toContain('for developers');
  expect((await home.sregistry('backend', 'ls', '--debug')).stderr).toContain('for developers');
});

test('An interrupt ends work under way with 130.', async () => {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  await using server = await startFaultServer(() => resolve());
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${server.url}`);
  const child = home.start('pull', 'lab://demo/x:1');
  const outcome = finish(child);
  await asked;
  child.kill('SIGINT');
  expect(await outcome).toMatchObject({ code: 130, stdout: '' });
});

test('Completion knows commands, options, subcommands and the names of backends.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:1');
  const complete = async (...words: string[]) =>
    (await home.ok('--get-yargs-completions', 'sregistry', ...words)).split('\n');
  expect(await complete('pu')).toEqual(expect.arrayContaining(['pull', 'push']));
  expect(await complete('pull', '--')).toContain('--no-cache');
  expect(await complete('pull', 'la')).toEqual(['lab://', '']);
  expect(await complete('backend', 'act')).toContain('activate');
  expect(await complete('backend', 'activate', '')).toEqual(expect.arrayContaining(['lab', 'local']));
});

describe('The help of every command', () => {
  test('says what it does and gives one to three examples that parse.', async () => {
    const printed = vi.spyOn(console, 'log').mockImplementation(() => {});
    try {
      for (const [line, command] of await everyCommand()) {
        printed.mockClear();
        expect(await main([...line, '--help']), line.join(' ')).toBe(0);
        const help = printed.mock.calls.join('\n');
        expect(help, line.join(' ')).toContain('\nExamples:\n  # ');

        const run = vi.spyOn(command, 'run').mockResolvedValue(7);
        expect(command.examples.length, line.join(' ')).toBeGreaterThanOrEqual(1);
        expect(command.examples.length, line.join(' ')).toBeLessThanOrEqual(3);
        for (const [example] of command.examples) {
          expect(await main(wordsOf(example)), example).toBe(7);
        }
        run.mockRestore();
      }
    } finally {
      printed.mockRestore();
    }
  });
});

/** The arguments in an example: `sregistry ARGS...`, perhaps within `$(...)`, perhaps redirected. */
function wordsOf(example: string): string[] {
  const [, line = ''] = /(?:^|\()sregistry ([^<>)]*)/.exec(example) ?? [];
  return (line.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
}

/** Each command, the ones below others included, and the words it is called by. */
async function everyCommand() {
  const all = await Promise.all(
    COMMANDS.map(async (entry) => {
      const module = (await entry.load()).default;
      const [name = ''] = namesOf(entry);
      if ('run' in module) return [[[name], module] as const];
      return module.subcommands.map((each) => [[name, namesOf(each)[0] ?? ''], each] as const);
    }),
  );
  return all.flat();
}
