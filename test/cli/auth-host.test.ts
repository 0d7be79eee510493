import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { Home } from './home.ts';

const { username, password } = REGISTRY_LOGIN;
const DOCKER = '.docker/config.json';
const APPTAINER = '.apptainer/docker-config.json';

needs({ registry: true })('auth, on a host of a registry', () => {
  let home: Home;
  let registry: TestRegistry;
  beforeEach(async () => {
    registry = await startRegistry({ auth: 'basic' });
    home = new Home();
  });
  afterEach(async () => {
    home[Symbol.dispose]();
    await registry.remove();
  });

  const login = (secret: string, flag = '--password-stdin') =>
    home.withInput(`${secret}\n`, 'auth', 'login', registry.host, '-u', username, flag);
  const put = (name: string, text: string) => {
    mkdirSync(dirname(home.path(name)), { recursive: true });
    writeFileSync(home.path(name), text);
  };
  const read = (name: string) => JSON.parse(readFileSync(home.path(name), 'utf8'));
  const auth = Buffer.from(`${username}:${password}`).toString('base64');

  /** A credential helper that keeps one login in a file. */
  const installHelper = () => {
    const store = home.path('kept');
    put(
      'bin/docker-credential-box',
      `#!/bin/sh\ncase $1 in\nstore) cat > ${store} ;;\nerase) rm -f ${store} ;;\nget) cat ${store} 2> /dev/null || { echo credentials not found in native keychain; exit 1; } ;;\nesac\n`,
    );
    chmodSync(home.path('bin/docker-credential-box'), 0o755);
    home.env.PATH = `${home.path('bin')}:${home.env.PATH}`;
    return store;
  };

  test('keeps a login where docker and apptainer find it, uses it, says where it is from, and forgets it.', async () => {
    put(DOCKER, JSON.stringify({ detachKeys: 'ctrl-q', auths: { 'quay.io': { auth } } }));
    const { code, stderr } = await login(password, '--token-stdin');
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('docker-config.json'),
    });
    expect(read(DOCKER)).toEqual({
      detachKeys: 'ctrl-q',
      auths: { 'quay.io': { auth }, [registry.host]: { auth } },
    });
    expect(read(APPTAINER)).toEqual({ auths: { [registry.host]: { auth } } });
    expect(existsSync(home.path('.sregistry'))).toBe(false);
    await home.ok('push', home.image(), '--name', `docker://${registry.host}/demo/hello:1`);
    expect(await home.json('auth', 'status', registry.host)).toMatchObject([
      {
        backend: registry.host,
        ok: true,
        credentials: { login: 'file' },
        places: { login: expect.stringContaining(home.path(APPTAINER)) },
      },
    ]);
    await home.ok('auth', 'logout', registry.host);
    expect(read(DOCKER)).toEqual({ detachKeys: 'ctrl-q', auths: { 'quay.io': { auth } } });
    expect((await home.sregistry('auth', 'status', registry.host)).code).toBe(1);
  });

  test('says that a login is refused, and writes nothing.', async () => {
    const { code, stderr } = await login('wrong-secret');
    expect(code).toBe(1);
    expect(stderr).toContain(`refused the login of ${username}`);
    expect(stderr).not.toContain('wrong-secret');
    expect([existsSync(home.path(DOCKER)), existsSync(home.path(APPTAINER))]).toEqual([false, false]);
  });

  test("leaves the password to docker's helper, also for apptainer.", async () => {
    const store = installHelper();
    put(DOCKER, JSON.stringify({ credsStore: 'box' }));
    expect(await login(password)).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('docker-credential-box'),
    });
    expect(JSON.parse(readFileSync(store, 'utf8'))).toEqual({
      ServerURL: registry.host,
      Username: username,
      Secret: password,
    });
    expect(read(DOCKER)).toEqual({ credsStore: 'box', auths: { [registry.host]: {} } });
    expect(read(APPTAINER)).toEqual({
      credHelpers: { [registry.host]: 'box' },
      auths: { [registry.host]: {} },
    });
    expect(await home.json('auth', 'status', registry.host)).toMatchObject([
      { ok: true, credentials: { login: 'helper' }, places: { login: 'docker-credential-box' } },
    ]);
    await home.ok('auth', 'logout', registry.host);
    expect(existsSync(store)).toBe(false);
  });

  test('fails where the helper does, and does not keep the password elsewhere.', async () => {
    put(DOCKER, JSON.stringify({ credsStore: 'absent' }));
    const { code, stderr } = await login(password);
    expect(code).toBe(1);
    expect(stderr).toContain('docker-credential-absent');
    expect(read(DOCKER)).toEqual({ credsStore: 'absent' });
    expect(existsSync(home.path(APPTAINER))).toBe(false);
  });

  test('needs a user and a password where nobody can be asked.', async () => {
    const { code, stderr } = await home.sregistry('auth', 'login', registry.host);
    expect(code).toBe(2);
    expect(stderr).toContain('--password-stdin');
  });

  test('shows where the login of a backend is from, and all hosts with a login.', async () => {
    await home.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`);
    await login(password);
    const { stdout } = await home.sregistry('auth', 'status');
    expect(stdout).toContain(APPTAINER);
    const all = JSON.parse((await home.sregistry('auth', 'status', '--json')).stdout);
    expect(all).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ backend: 'lab', credentials: { login: 'file' } }),
        expect.objectContaining({ backend: registry.host }),
      ]),
    );
    home.env.SREGISTRY_LAB_USERNAME = username;
    home.env.SREGISTRY_LAB_PASSWORD = password;
    expect(await home.json('auth', 'status', 'lab')).toMatchObject([
      { places: { username: 'SREGISTRY_LAB_USERNAME', password: 'SREGISTRY_LAB_PASSWORD' } },
    ]);
  });
});
