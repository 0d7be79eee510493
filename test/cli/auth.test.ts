import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { Home } from './home.ts';

const { username, password } = REGISTRY_LOGIN;

needs({ registry: true })('auth, on a registry that asks for a login', () => {
  let home: Home;
  let registry: TestRegistry;
  beforeEach(async () => {
    registry = await startRegistry({ auth: 'basic' });
    home = new Home();
    await home.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`);
  });
  afterEach(async () => {
    home[Symbol.dispose]();
    await registry.remove();
  });

  const entry = async () => JSON.parse(await readFile(home.path('.sregistry'), 'utf8')).lab;
  const login = (secret: string) =>
    home.withInput(`${secret}\n`, 'auth', 'login', 'lab', '-u', username, '--password-stdin');

  test('keeps a login that works, uses it, and forgets it.', async () => {
    expect(await login(password)).toMatchObject({ code: 0, stdout: '' });
    expect(await entry()).toEqual({ driver: 'oci', base: registry.url, username, password });
    await home.ok('push', home.image(), '--name', 'lab://demo/hello:1');
    expect(await home.json('auth', 'status', 'lab')).toMatchObject([
      { backend: 'lab', ok: true, credentials: { username: 'secrets', password: 'secrets' } },
    ]);

    await home.ok('auth', 'logout', 'lab');
    expect(await entry()).toEqual({ driver: 'oci', base: registry.url });
    const { code, stdout } = await home.sregistry('auth', 'status', 'lab');
    expect(code).toBe(1);
    expect(stdout).toContain('lab');
  });

  test('does not keep a login that is refused, and does not print it.', async () => {
    const { code, stderr } = await login('wrong-secret');
    expect(code).toBe(1);
    expect(stderr).not.toContain('wrong-secret');
    expect(await entry()).toEqual({ driver: 'oci', base: registry.url });
  });

  test('asks nobody where there is no terminal.', async () => {
    const { code, stderr } = await home.sregistry('auth', 'login', 'lab');
    expect(code).toBe(2);
    expect(stderr).toContain('--password-stdin');
  });
});
