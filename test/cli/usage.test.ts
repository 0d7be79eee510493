/** What the command line says of a line that it cannot run, and the options that every command has. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from './home.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

describe('A line that the parser refuses', () => {
  test.each([
    [['pull', 'lab://x', '--nmae', 'y'], 'sregistry pull has no option --nmae', 'Did you mean --name?'],
    [['pull', 'lab://x', '--nmae=y'], 'sregistry pull has no option --nmae', 'Did you mean --name?'],
    [
      ['pull', 'lab://x', '-z'],
      'sregistry pull has no option -z',
      'sregistry pull --help tells how to use it',
    ],
    [
      ['backend', 'ls', '--capabilites'],
      'sregistry backend ls has no option --capabilites',
      '--capabilities?',
    ],
    [['pull'], 'sregistry pull needs <uri..>', 'Use it as: sregistry pull <uri..>'],
    [['cp', 'lab://x'], 'sregistry cp needs <to>', 'Use it as: sregistry cp <from> <to>'],
    [['get', 'a', 'b'], 'sregistry get does not take "b"', 'Use it as: sregistry get <query>'],
    [['pull', 'lab://x', '--name'], '--name needs a value', 'Write for instance: --name VALUE'],
    [['push', '--kept', '--drop'], '--kept and --drop cannot be used together', 'sregistry push --help'],
    [['backend'], 'No command is given', 'sregistry backend --help'],
    [['--bogus'], 'sregistry has no option --bogus', 'sregistry --help'],
  ])('names what is wrong and what to write: %j', async (words, message, hint) => {
    const { code, stdout, stderr } = await home.sregistry(...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    const [first, second] = stderr.split('\n');
    expect(first).toBe(`ERROR ${message}`);
    expect(second).toContain(hint);
    expect(second).toMatch(/^Hint: /);
  });
});

describe('help', () => {
  test.each([[[]], [['pull']], [['backend', 'add']]])('is another spelling of --help: %j', async (words) => {
    const help = await home.sregistry('help', ...words);
    expect(help).toEqual(await home.sregistry(...words, '--help'));
    expect(help.stdout).toContain(['sregistry', ...words].join(' '));
  });

  test('of a command that does not exist names the nearest', async () => {
    const { code, stderr } = await home.sregistry('help', 'pul');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('Did you mean pull?') });
  });
});

test('-q is --quiet: no notes.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:1');
  expect((await home.sregistry('backend', 'activate', 'lab')).stderr).not.toBe('');
  expect(await home.sregistry('backend', 'activate', 'lab', '-q')).toMatchObject({ code: 0, stderr: '' });
});

describe('-v', () => {
  test('is --verbose: it tells which requests are sent again', async () => {
    await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:1');
    const repeated = /^VERBOSE .*localhost:1.* failed and is tried again: /m;
    expect((await home.sregistry('pull', 'lab://demo/x:1', '-v')).stderr).toMatch(repeated);
    expect((await home.sregistry('pull', 'lab://demo/x:1')).stderr).not.toMatch(repeated);
  });

  test('of labels is their value, as in the Python client', async () => {
    await home.ok('add', home.image(), '--name', 'demo/hello:1', '--copy');
    expect(await home.json('labels', '-v', 'no such value')).toEqual([]);
  });
});
