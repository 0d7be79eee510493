import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { declaration } from '../../src/backends/oci/declaration.ts';
import { ociPreset } from '../../src/backends/oci/preset.ts';
import type { TimedLogin } from '../../src/backends/oci/registries.ts';
import { redact } from '../../src/log/index.ts';
import { needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, startRegistry } from '../servers/docker-registry.ts';
import { startFakeRegistry } from '../servers/fake-registry.ts';
import { createTokenServer } from '../servers/token-server.ts';

const SIF = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');
const NAME = { collection: 'lab', image: 'x', tag: '1' };

/** A service as NVIDIA's: a fixed user, and an API key as its password. */
const keyed = (base: string) =>
  ociPreset({
    name: 'keyed',
    title: 'A registry with API keys',
    aliases: ['keyed'],
    capabilities: declaration.capabilities,
    options: { key: { env: 'KEYED_API_KEY', describe: 'API key', secret: true } },
    connect: ({ options: { key } }) => ({
      base,
      defaultCollection: 'keyed',
      login: async () => (key === undefined ? undefined : { username: '$oauthtoken', password: key }),
    }),
  });

/** A service as Amazon's: another API hands out passwords that live for hours. */
const lending = (base: string, login: () => Promise<TimedLogin | undefined>) =>
  ociPreset({
    name: 'lending',
    title: 'A registry whose passwords come from an API',
    aliases: [],
    capabilities: declaration.capabilities,
    options: { region: { describe: 'Region', default: 'here' } },
    connect: () => ({ base, login }),
  });

function opened(backend: Backend) {
  onTestFinished(() => backend.close?.());
  return backend as Backend & Required<Pick<Backend, 'push' | 'remove' | 'check' | 'search'>>;
}

const context = (name: string) => ({ name, env: { HOME: '/nonexistent' } });

describe('A preset', () => {
  test('is a driver of its own name, with its own options and collection.', async () => {
    const driver = keyed('https://registry.example.org');
    expect(driver).toMatchObject({ name: 'keyed', aliases: ['keyed'], options: { key: { secret: true } } });
    expect(driver).not.toHaveProperty('connect');
    const backend = opened(driver.create({ ...context('mine'), options: { key: undefined } }));
    expect(backend).toMatchObject({
      name: 'mine',
      driver: 'keyed',
      target: 'https://registry.example.org',
      defaultCollection: 'keyed',
    });
  });

  test('logs in to the token service of its registry, and works as any other registry then.', async () => {
    const tokens = createTokenServer({ username: '$oauthtoken', password: 'the-key', lifetime: 300 });
    const registry = await startFakeRegistry({ tokens });
    onTestFinished(() => registry.close());
    const backend = opened(keyed(registry.url).create({ ...context('keyed'), options: { key: 'the-key' } }));
    const { size } = await stat(SIF);
    const pushed = await backend.push({ path: SIF, size }, NAME);
    expect(await backend.resolve(NAME)).toEqual(pushed);
    expect(await buffer(await backend.read(pushed, 0, 10))).toHaveLength(10);
    expect(new Set(tokens.asked.map(({ user }) => user))).toEqual(new Set(['$oauthtoken']));
  });

  test('without its login goes as nobody, and says how to log in where that does not do.', async () => {
    const tokens = createTokenServer({ username: '$oauthtoken', password: 'the-key', lifetime: 300 });
    const registry = await startFakeRegistry({ tokens });
    onTestFinished(() => registry.close());
    const backend = opened(keyed(registry.url).create({ ...context('ours'), options: { key: undefined } }));
    expect(await backend.resolve(NAME)).toBeUndefined();
    const { size } = await stat(SIF);
    await expect(backend.push({ path: SIF, size }, NAME)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('sregistry auth login ours'),
    });
  });
});

needs({ registry: true })('A preset whose passwords come from an API', () => {
  async function start(login: () => Promise<TimedLogin | undefined>) {
    const registry = await startRegistry({ auth: 'basic' });
    const driver = lending(registry.url, login);
    onTestFinished(() => registry.remove());
    return opened(driver.create({ ...context('lending'), options: { region: 'here' } }));
  }

  test('asks for one, however many requests need it, and keeps it secret.', async () => {
    const login = vi.fn(async () => ({ ...REGISTRY_LOGIN, lifetime: 43_200 }));
    const backend = await start(login);
    await backend.check();
    const names = ['a/x', 'a/y', 'b/z'].map((path) => ({ ...NAME, collection: path }));
    expect(await Promise.all(names.map((name) => backend.resolve(name)))).toEqual(names.map(() => undefined));
    const { size } = await stat(SIF);
    const image = await backend.push({ path: SIF, size }, NAME);
    expect(await Array.fromAsync(backend.list('lab'))).toMatchObject([{ kind: 'image', name: NAME }]);
    await backend.remove(image);
    expect(login).toHaveBeenCalledTimes(1);
    expect(redact(`password ${REGISTRY_LOGIN.password}`)).not.toContain(REGISTRY_LOGIN.password);
  });

  test('asks for another one where the registry refuses it.', async () => {
    const login = vi.fn(async (): Promise<TimedLogin> => ({ ...REGISTRY_LOGIN, lifetime: 43_200 }));
    login.mockResolvedValueOnce({ username: 'tester', password: 'ended meanwhile', lifetime: 43_200 });
    const backend = await start(login);
    await expect(backend.check()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await backend.check();
    expect(login).toHaveBeenCalledTimes(2);
  });

  test('asks for another one shortly before the end of the one it has.', async () => {
    const login = vi.fn(async () => ({ ...REGISTRY_LOGIN, lifetime: 59 }));
    const backend = await start(login);
    await backend.check();
    const before = login.mock.calls.length;
    await backend.check();
    expect(login.mock.calls.length).toBeGreaterThan(before);
  });
});
