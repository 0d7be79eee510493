import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const EXECUTABLE = join(import.meta.dirname, '../../bin/sregistry.js');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sregistry-bin-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Writes a file of an installed sregistry and answers its path. */
function put(path: string, content: string): string {
  const full = join(folder, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  chmodSync(full, 0o755);
  return full;
}

/** A package `sregistry` that asks for `engine`, with the real executable. */
function install(engine: string, at = '.'): string {
  put(join(at, 'package.json'), JSON.stringify({ type: 'module', engines: { node: engine } }));
  const path = put(join(at, 'bin/sregistry.js'), '');
  copyFileSync(EXECUTABLE, path);
  return path;
}

async function run(executable: string, args: string[], started: (pid: number) => void = () => {}, env = {}) {
  const child = spawn(process.execPath, [executable, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, XDG_CACHE_HOME: '', HOME: folder, ...env },
    timeout: 60_000,
  });
  child.stdout.once('data', () => started(child.pid as number));
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { stdout, stderr, code };
}

describe('on a Node that fits', () => {
  test('runs the built command line where there is one, and ends with its exit code', async () => {
    const executable = install('>=22.19');
    put('dist/cli/main.js', 'export async function main(argv) { console.log(argv.join("|")); return 3; }');
    put('src/cli/main.ts', 'throw new Error("the sources, not the build");');
    expect(await run(executable, ['pull', 'a b'])).toEqual({ stdout: 'pull|a b\n', stderr: '', code: 3 });
  });

  test('runs the sources of a checkout that were changed after they were built', async () => {
    const executable = install('>=22.19');
    put('dist/cli/main.js', 'export async function main() { return 3; }');
    const sources = put('src/cli/main.ts', 'export async function main(): Promise<number> { return 4; }');
    const note = put('dist/.built', '');
    const before = new Date(Date.now() - 60_000);
    utimesSync(sources, before, before);
    expect(await run(executable, [])).toMatchObject({ code: 3 });
    utimesSync(sources, new Date(), new Date(Date.now() + 1000));
    expect(await run(executable, [])).toMatchObject({ code: 4 });
    rmSync(note);
    expect(await run(executable, [])).toMatchObject({ code: 3 });
  });

  test('runs the sources where nothing is built', async () => {
    const executable = install('>=22.19');
    put(
      'src/cli/main.ts',
      'export async function main(argv: string[]): Promise<number> { return argv.length; }',
    );
    expect(await run(executable, ['a', 'b'])).toMatchObject({ code: 2 });
  });
});

describe('compiled code', () => {
  const CODE = '.cache/sregistry-code';

  function installed(): string {
    put('dist/cli/main.js', 'export async function main() { return 3; }');
    return install('>=22.19');
  }

  test('is kept from one start to the next, in a folder of the user alone', async () => {
    expect(await run(installed(), [])).toMatchObject({ code: 3 });
    expect(statSync(join(folder, CODE)).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(folder, CODE), { recursive: true }).length).toBeGreaterThan(1);
  });

  test('is not looked for where others can write', async () => {
    mkdirSync(join(folder, CODE), { recursive: true });
    chmodSync(join(folder, CODE), 0o777);
    expect(await run(installed(), [])).toMatchObject({ code: 3 });
    expect(readdirSync(join(folder, CODE))).toEqual([]);
  });

  test('is not looked for behind a link', async () => {
    mkdirSync(join(folder, '.cache'));
    symlinkSync(folder, join(folder, CODE));
    const executable = installed();
    const before = readdirSync(folder);
    expect(await run(executable, [])).toMatchObject({ code: 3 });
    expect(readdirSync(folder)).toEqual(before);
  });

  test('is not kept where no folder can be made, and the command runs', async () => {
    const env = { XDG_CACHE_HOME: '/proc/none' };
    expect(await run(installed(), [], undefined, env)).toEqual({ stdout: '', stderr: '', code: 3 });
  });
});

describe('on a Node that is too old', () => {
  const OWN_NODE = '#!/bin/sh\nshift\necho "own $*"\nexit 7\n';

  test("runs on the project's own Node with the same arguments and exit code", async () => {
    const executable = install('>=99.0');
    put('node_modules/node/bin/node', OWN_NODE);
    expect(await run(executable, ['mount', '/x'])).toEqual({ stdout: 'own mount /x\n', stderr: '', code: 7 });
  });

  test('finds a Node that npm put beside the installed package', async () => {
    const executable = install('>=99.0', 'node_modules/sregistry');
    put('node_modules/node/bin/node', OWN_NODE);
    expect(await run(executable, ['status'])).toMatchObject({ stdout: 'own status\n', code: 7 });
  });

  test('finds the Node for this machine that npm installed for the package', async () => {
    const name = `node-linux-${process.arch}`;
    const hoisted = install('>=99.0', 'a/node_modules/sregistry');
    put(`a/node_modules/${name}/bin/node`, OWN_NODE);
    expect(await run(hoisted, ['status'])).toMatchObject({ stdout: 'own status\n', code: 7 });
    const nested = install('>=99.0', 'b/node_modules/sregistry');
    put(`b/node_modules/sregistry/node_modules/${name}/bin/node`, OWN_NODE);
    expect(await run(nested, ['status'])).toMatchObject({ stdout: 'own status\n', code: 7 });
  });

  test('passes signals on and waits for what they bring about', async () => {
    const executable = install('>=99.0');
    put(
      'node_modules/node/bin/node',
      '#!/bin/sh\ntrap "exit 9" TERM\necho ready\nfor i in $(seq 200); do sleep 0.05; done\n',
    );
    const { code } = await run(executable, [], (pid) => process.kill(pid, 'SIGTERM'));
    expect(code).toBe(9);
  });

  test('ends as a shell says it of a killed command when its Node is killed', async () => {
    const executable = install('>=99.0');
    put('node_modules/node/bin/node', '#!/bin/sh\nkill -KILL $$\n');
    expect(await run(executable, [])).toMatchObject({ code: 137 });
  });

  test('says what is needed and how to get it where there is no other Node', async () => {
    const { stderr, stdout, code } = await run(install('>=99.0'), []);
    expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
    expect(stderr).toContain(`sregistry needs Node >=99.0; this is Node ${process.versions.node}`);
    expect(stderr).toContain('scripts/setup');
  });
});
