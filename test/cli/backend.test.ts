import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from './home.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

const secrets = async () => JSON.parse(await readFile(home.path('.sregistry'), 'utf8'));

test('A backend is added with KEY=VALUE or KEY VALUE, and shown without its secrets.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:5000', 'username=me');
  await home.ok('backend', 'add', 'lab', 'password', 'a=secret');
  expect(await secrets()).toEqual({
    lab: { driver: 'oci', base: 'http://localhost:5000', username: 'me', password: 'a=secret' },
  });
  expect((await stat(home.path('.sregistry'))).mode & 0o777).toBe(0o600);

  expect(JSON.parse(await home.ok('backend', 'ls', 'lab'))).toEqual({
    base: 'http://localhost:5000',
    password: '***',
    soci: 'annotation',
    username: 'me',
  });
  for (const printed of [await home.ok('backend', 'ls'), await home.ok('backend', 'ls', '--json')]) {
    expect(printed).toContain('lab');
    expect(printed).not.toContain('secret"');
    expect(printed).not.toContain('a=secret');
  }
});

test('A directory without its path is refused, and nothing is written.', async () => {
  const { code, stderr } = await home.sregistry('backend', 'add', 'shared', '--driver', 'dir');
  expect(code).toBe(1);
  expect(stderr).toContain('The backend shared lacks base (Path of the directory)');
  expect(stderr).toContain('sregistry backend add shared --driver dir base=/shared/containers');
  expect(existsSync(home.path('.sregistry'))).toBe(false);
});

test('An option that does not exist is refused, with the one that is meant.', async () => {
  const { code, stderr } = await home.sregistry('backend', 'add', 'lab', '--driver', 's3', 'buckt=images');
  expect(code).toBe(1);
  expect(stderr).toContain('Did you mean bucket?');
  expect(existsSync(home.path('.sregistry'))).toBe(false);
});

test('A setting is replaced only by force.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:5000');
  const { code, stderr } = await home.sregistry('backend', 'add', 'lab', 'base=http://localhost:6000');
  expect(code).toBe(1);
  expect(stderr).toContain('--force');
  await home.ok('backend', 'add', 'lab', 'base=http://localhost:6000', '-f');
  expect((await secrets()).lab.base).toBe('http://localhost:6000');
});

test('A setting is removed by either name of the command, and a backend is deleted whole.', async () => {
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:5000', 'username=me');
  await home.ok('backend', 'remove', 'lab', 'username');
  expect((await secrets()).lab).toEqual({ driver: 'oci', base: 'http://localhost:5000' });
  expect((await home.sregistry('backend', 'rm', 'lab', 'username')).code).toBe(1);
  await home.ok('backend', 'delete', 'lab');
  expect(await secrets()).toEqual({});
  expect((await home.sregistry('backend', 'delete', 'lab')).code).toBe(1);
});

test('A backend is activated and deactivated; status says which.', async () => {
  expect(await home.ok('backend', 'status')).toBe(
    'There are 0 clients found in secrets.\nThere is no active client.\n',
  );
  await home.ok('backend', 'add', 'lab', '--driver', 'oci', 'base=http://localhost:5000');
  await home.ok('backend', 'activate', 'lab');
  expect(await home.ok('backend', 'status')).toBe('There are 1 clients found in secrets.\nactive: lab\n');
  await home.ok('backend', 'deactivate');
  expect(await home.json('backend', 'status')).toEqual({ clients: 1, active: null });
  const { code, stderr } = await home.sregistry('backend', 'activate', 'lbb');
  expect(code).toBe(1);
  expect(stderr).toContain('Did you mean lab?');
});

describe('The matrix of capabilities', () => {
  test('has a row for each driver, told by its code.', async () => {
    const matrix = await home.json('backend', 'ls', '--capabilities');
    const of = (name: string) => matrix.find(({ driver }: { driver: string }) => driver === name)?.can;
    expect(of('local')).toMatchObject({ push: true, remove: true, share: false });
    expect(of('oci')).toMatchObject({ push: true, search: true, check: true });
  });
});
