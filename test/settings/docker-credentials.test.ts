import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { bot, redact } from '../../src/log/index.ts';
import { findDockerCredentials } from '../../src/settings/docker-credentials.ts';
import { temporaryDir } from './temporary.ts';

const basic = (login: string) => ({ auth: Buffer.from(login).toString('base64') });

/** A home with the given files in it, and an environment that knows no other. */
function home(files: Record<string, object | string> = {}) {
  const dir = temporaryDir();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
    HOME: dir,
    PATH: `${join(dir, 'bin')}:${process.env.PATH}`,
    ...more,
  });
  const find = async (host: string, more: NodeJS.ProcessEnv = {}, repository?: string) => {
    const found = await findDockerCredentials(host, env(more), repository);
    if (found === undefined) return undefined;
    const { source: _, kind: __, ...login } = found;
    return login;
  };
  return { dir, env, find };
}

const user = (username: string) => ({ username, password: `${username}-password` });
const auths = (entries: Record<string, string>) => ({
  auths: Object.fromEntries(
    Object.entries(entries).map(([key, name]) => [key, basic(`${name}:${name}-password`)]),
  ),
});

/** A credential helper that logs what it is asked, in the folder of `home` that is on the PATH. */
function helper(dir: string, name: string, body: string): () => string {
  const program = join(dir, 'bin', `docker-credential-${name}`);
  mkdirSync(dirname(program), { recursive: true });
  writeFileSync(program, `#!/bin/sh\nread server\necho "$1 $server" >> "${program}.log"\n${body}\n`);
  chmodSync(program, 0o755);
  return () => readFileSync(`${program}.log`, 'utf8').trim();
}

const says = (username: string, secret: string) =>
  `echo '${JSON.stringify({ Username: username, Secret: secret })}'`;

/** A zombie, whose parent has yet to look, runs no more. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function warningsDuring(action: () => Promise<unknown>): Promise<string[]> {
  const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
  try {
    await action();
    return warning.mock.calls.map(([message]) => String(message));
  } finally {
    warning.mockRestore();
  }
}

test('without any login there is none', async () => {
  expect(await home().find('quay.io')).toBeUndefined();
});

test.each(['quay.io', 'https://quay.io', 'http://quay.io/', 'quay.io/v1/', 'https://quay.io/v2/'])(
  'a login for quay.io is found under %s',
  async (key) => {
    const { find } = home({ '.docker/config.json': auths({ [key]: 'ada' }) });
    expect(await find('quay.io')).toEqual(user('ada'));
    expect(await find('quay.io:443')).toBeUndefined();
    expect(await find('evil-quay.io')).toBeUndefined();
    expect(await find('quay.io.evil')).toBeUndefined();
  },
);

test('a port belongs to the registry', async () => {
  const { find } = home({ '.docker/config.json': auths({ 'localhost:5000': 'ada' }) });
  expect(await find('localhost:5000')).toEqual(user('ada'));
  expect(await find('localhost:5001')).toBeUndefined();
  expect(await find('localhost')).toBeUndefined();
});

test.each(['docker.io', 'index.docker.io', 'registry-1.docker.io'])('%s is Docker Hub', async (host) => {
  const { find } = home({ '.docker/config.json': auths({ 'https://index.docker.io/v1/': 'ada' }) });
  expect(await find(host)).toEqual(user('ada'));
  expect(await home({ '.docker/config.json': auths({ 'docker.io': 'bob' }) }).find(host)).toEqual(
    user('bob'),
  );
});

test('the longest key that holds for the repository wins', async () => {
  const { find } = home({
    '.docker/config.json': auths({ 'quay.io': 'any', 'quay.io/org': 'org', 'quay.io/org/image': 'image' }),
  });
  expect(await find('quay.io', {}, 'org/image')).toEqual(user('image'));
  expect(await find('quay.io', {}, 'org/other')).toEqual(user('org'));
  expect(await find('quay.io', {}, 'organic/image')).toEqual(user('any'));
  expect(await find('quay.io')).toEqual(user('any'));
});

test('a key of a namespace does not hold for the whole registry', async () => {
  const { find } = home({ '.docker/config.json': auths({ 'quay.io/org': 'org' }) });
  expect(await find('quay.io')).toBeUndefined();
});

test('reads every form of a login', async () => {
  const { find } = home({
    '.docker/config.json': {
      auths: {
        padded: basic('ada:pass:with:colons\0\0'),
        plain: { username: 'ada', password: 'pw' },
        identity: { auth: basic('<token>:').auth, identitytoken: 'refresh' },
        bearer: { registrytoken: 'bearer' },
        empty: {},
      },
    },
  });
  expect(await find('padded')).toEqual({ username: 'ada', password: 'pass:with:colons' });
  expect(await find('plain')).toEqual({ username: 'ada', password: 'pw' });
  expect(await find('identity')).toEqual({ identityToken: 'refresh' });
  expect(await find('bearer')).toEqual({ registryToken: 'bearer' });
  expect(await find('empty')).toBeUndefined();
});

test('of two keys for one registry, an empty one does not hide the other', async () => {
  const { find } = home({
    '.docker/config.json': { auths: { 'https://quay.io': {}, 'quay.io': basic('ada:ada-password') } },
  });
  expect(await find('quay.io')).toEqual(user('ada'));
});

test('the files are asked in their order', async () => {
  const files = [
    'python.json',
    'authfile.json',
    '.apptainer/docker-config.json',
    '.singularity/docker-config.json',
    'podman.json',
    '.docker/config.json',
  ];
  for (let first = 0; first < files.length; first++) {
    const { dir, find } = home(
      Object.fromEntries(files.slice(first).map((file) => [file, auths({ 'quay.io': file })])),
    );
    const env = {
      SREGISTRY_DOCKERHUB_SECRETS: join(dir, 'python.json'),
      APPTAINER_AUTHFILE: join(dir, 'authfile.json'),
      REGISTRY_AUTH_FILE: join(dir, 'podman.json'),
    };
    expect(await find('quay.io', env)).toEqual(user(`${files[first]}`));
  }
});

test('DOCKER_CONFIG replaces ~/.docker, and podman keeps its logins in the runtime directory', async () => {
  const { dir, find } = home({
    '.docker/config.json': auths({ 'quay.io': 'home' }),
    'docker/config.json': auths({ 'quay.io': 'docker' }),
    'run/containers/auth.json': auths({ 'quay.io': 'podman' }),
  });
  expect(await find('quay.io', { DOCKER_CONFIG: join(dir, 'docker') })).toEqual(user('docker'));
  expect(await find('quay.io', { DOCKER_CONFIG: join(dir, 'nowhere') })).toBeUndefined();
  expect(await find('quay.io', { XDG_RUNTIME_DIR: join(dir, 'run') })).toEqual(user('podman'));
});

test('the login of the environment holds for any registry that no file names', async () => {
  const { find } = home({ '.docker/config.json': auths({ 'quay.io': 'file' }) });
  const singularity = { SINGULARITY_DOCKER_USERNAME: 'sing', SINGULARITY_DOCKER_PASSWORD: 'sing-password' };
  const both = {
    ...singularity,
    APPTAINER_DOCKER_USERNAME: 'app',
    APPTAINER_DOCKER_PASSWORD: 'app-password',
  };
  expect(await find('ghcr.io', singularity)).toEqual(user('sing'));
  expect(await find('ghcr.io', both)).toEqual(user('app'));
  expect(await find('quay.io', both)).toEqual(user('file'));
  expect(await find('ghcr.io', { APPTAINER_DOCKER_USERNAME: 'app' })).toBeUndefined();
});

test('says where a login was found', async () => {
  const { dir, env } = home({ '.docker/config.json': auths({ 'quay.io': 'ada' }) });
  expect(await findDockerCredentials('quay.io', env())).toHaveProperty(
    'source',
    `"quay.io" in ${join(dir, '.docker/config.json')}`,
  );
});

test('a helper is asked for the registry it is named for, others are not', async () => {
  const { dir, find } = home({
    '.docker/config.json': {
      credHelpers: { 'gcr.io': 'one' },
      ...auths({ 'gcr.io': 'file', 'quay.io': 'file' }),
    },
  });
  const asked = helper(dir, 'one', says('ada', 'ada-password'));
  expect(await find('gcr.io')).toEqual(user('ada'));
  expect(await find('quay.io')).toEqual(user('file'));
  expect(asked()).toBe('get gcr.io');
});

test('the credential store is asked for any registry, for Docker Hub by its old name', async () => {
  const { dir, find } = home({ '.docker/config.json': { credsStore: 'two', auths: { 'quay.io': {} } } });
  const asked = helper(dir, 'two', says('<token>', 'refresh'));
  expect(await find('quay.io')).toEqual({ identityToken: 'refresh' });
  expect(await find('docker.io')).toEqual({ identityToken: 'refresh' });
  expect(asked()).toBe('get quay.io\nget https://index.docker.io/v1/');
});

test('a helper that knows no login is no error, and the search goes on', async () => {
  const { dir, find } = home({
    '.apptainer/docker-config.json': { credsStore: 'none' },
    '.docker/config.json': auths({ 'quay.io': 'ada' }),
  });
  helper(dir, 'none', 'echo "credentials not found in native keychain"; exit 1');
  const warnings = await warningsDuring(async () => expect(await find('quay.io')).toEqual(user('ada')));
  expect(warnings).toEqual([]);
});

test('a helper that is missing, fails or answers nonsense is a warning, once, and the search goes on', async () => {
  for (const [name, body, reason] of [
    ['missing', undefined, 'is not installed'],
    ['broken', 'echo "keychain is locked"; exit 1', 'keychain is locked'],
    ['odd', 'echo "not json secret-1"', 'malformed'],
    ['../evil', undefined, 'an invalid name'],
  ] as const) {
    const { dir, find } = home({
      '.docker/config.json': { credsStore: name, ...auths({ 'quay.io': 'ada' }) },
    });
    if (body) helper(dir, name, body);
    const warnings = await warningsDuring(async () => {
      expect(await find('quay.io')).toEqual(user('ada'));
      await find('quay.io');
    });
    expect(warnings).toEqual([expect.stringContaining(reason)]);
    expect(warnings[0]).not.toContain('secret-1');
  }
});

test('a helper that never answers is killed with all it started when the caller gives up', async () => {
  const { dir, env } = home({
    '.docker/config.json': { credsStore: 'hung', ...auths({ 'quay.io': 'ada' }) },
  });
  const asked = helper(dir, 'hung', `sleep 1000 &\necho $! $$ > "${dir}/pids"\nwait`);
  const caller = new AbortController();
  const warnings = await warningsDuring(async () => {
    const search = findDockerCredentials('quay.io', env(), '', caller.signal);
    await vi.waitFor(() => expect(readFileSync(join(dir, 'pids'), 'utf8')).toMatch(/\d+ \d+\n/), 30_000);
    const reason = new Error('out of time');
    caller.abort(reason);
    await expect(search).rejects.toBe(reason);
  });
  expect(warnings).toEqual([]);
  expect(asked()).toBe('get quay.io');
  const pids = readFileSync(join(dir, 'pids'), 'utf8').trim().split(' ').map(Number);
  for (const pid of pids) await vi.waitFor(() => expect(isRunning(pid)).toBe(false), 30_000);
});

test('a malformed file or login is a warning that names the place, and the search goes on', async () => {
  const { dir, find } = home({
    '.apptainer/docker-config.json': '{"auths": {"quay.io": {"auth": secret}}}',
    '.singularity/docker-config.json': { auths: { 'quay.io': { auth: 'bm9jb2xvbg==' } } },
    '.docker/config.json': auths({ 'quay.io': 'ada' }),
  });
  const warnings = await warningsDuring(async () => expect(await find('quay.io')).toEqual(user('ada')));
  expect(warnings).toEqual([
    expect.stringContaining(
      `${join(dir, '.apptainer/docker-config.json')} is malformed at line 1, column 32`,
    ),
    expect.stringContaining(`"quay.io" in ${join(dir, '.singularity/docker-config.json')} is malformed`),
  ]);
});

test('what is found is hidden from then on', async () => {
  const { find } = home({
    '.docker/config.json': { auths: { x: basic('ada:hidden-pass-1'), y: { registrytoken: 'hidden-tok-1' } } },
  });
  await find('x');
  await find('y');
  expect(redact(`hidden-pass-1 hidden-tok-1 ${basic('ada:hidden-pass-1').auth}`)).toBe('*** *** ***');
});
