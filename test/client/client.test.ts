import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  bot,
  type Client,
  type ClientOptions,
  getClient,
  parseImageName,
  updateClientSecrets,
} from '../../src/client/index.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { startFileServer } from '../servers/file-server.ts';

const IMAGE = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');

let home: string;
let env: NodeJS.ProcessEnv;
const clients: Client[] = [];

beforeEach(() => {
  home = temporaryFolder();
  env = { HOME: home };
  for (const folder of ['lab', 'other']) mkdirSync(join(home, folder));
  configure({
    lab: { driver: 'dir', base: join(home, 'lab') },
    other: { driver: 'dir', base: join(home, 'other') },
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});

function configure(secrets: object): void {
  writeFileSync(join(home, '.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
}

async function open(which?: string, options: ClientOptions = {}): Promise<Client> {
  const client = await getClient(which, { env, ...options });
  clients.push(client);
  return client;
}

describe('The client', () => {
  test('is that of the URI, else of SREGISTRY_CLIENT, else the active one, else hub.', async () => {
    expect((await open()).clientName).toBe('hub');
    configure({ SREGISTRY_CLIENT: 'other', ...JSON.parse(readFileSync(join(home, '.sregistry'), 'utf8')) });
    expect((await open()).clientName).toBe('other');
    env.SREGISTRY_CLIENT = 'local';
    expect((await open()).clientName).toBe('local');
    expect((await open('demo/hello:1.0')).clientName).toBe('local');
    expect((await open('lab')).clientName).toBe('lab');
    expect((await open('lab://demo/hello:1.0')).clientName).toBe('lab');
    expect((await open('oras://ghcr.io/x/y')).clientName).toBe('docker');
  });

  test('of a name that means none is an error that suggests the nearest.', async () => {
    await expect(open('lap')).rejects.toMatchObject({ code: 'SETTINGS', hint: 'Did you mean lab?' });
    env.SREGISTRY_CLIENT = 'dokcer';
    await expect(open()).rejects.toMatchObject({ code: 'SETTINGS', hint: 'Did you mean docker?' });
  });

  test('says who it is, unless it is quiet or only its output matters.', async () => {
    const said = vi.spyOn(bot, 'info').mockImplementation(() => {});
    const client = await open('lab');
    client.speak();
    client.announce('pull');
    client.announce('get');
    (await open('lab', { quiet: true })).speak();
    const line = `[client|lab] [database|sqlite:///${home}/.singularity/sregistry.db] [target|${home}/lab]`;
    expect(said.mock.calls).toEqual([[line], [line]]);
    said.mockRestore();
  });

  test('does not print the environment when it is printed.', async () => {
    const { inspect } = await import('node:util');
    env.SOME_TOKEN = 'not-for-everyone';
    expect(inspect(await open('lab'), { depth: 10 })).not.toContain('not-for-everyone');
  });
});

describe('Images', () => {
  test('are pushed, found, inspected, pulled and deleted at the backend of the client.', async () => {
    const client = await open('lab');
    const { uri, image } = await client.push(IMAGE, 'demo/hello', { tag: '1.0' });
    expect(uri).toBe('lab://demo/hello:1.0');
    const [found, ...more] = await client.search('hello');
    expect(more).toEqual([]);
    expect(found).toMatchObject({ uri, backend: 'lab', size: image.size, labels: { Version: '1.2.3' } });
    expect(await client.inspect('demo/hello:1.0')).toMatchObject({ uri, data: { attributes: {} } });
    expect((await client.cp('demo/hello:1.0', 'other://demo/copy:1')).uri).toBe('other://demo/copy:1');
    const { path } = await client.pull('demo/hello:1.0', { file: join(home, 'back.sif') });
    expect(readFileSync(path).equals(readFileSync(IMAGE))).toBe(true);
    expect((await client.delete('demo/hello:1.0')).name).toMatchObject({ image: 'hello', tag: '1.0' });
    expect(await client.search()).toEqual([]);
  });

  test('whose URI names another backend are of that one.', async () => {
    const client = await open('lab');
    expect((await client.push(IMAGE, 'other://demo/hello:1.0')).uri).toBe('other://demo/hello:1.0');
    expect(await client.search()).toEqual([]);
    expect(await (await open('other')).search()).toHaveLength(1);
  });

  test('that a backend cannot do something with are an error that says whose can.', async () => {
    const client = await open('lab');
    await client.push(IMAGE, 'demo/hello:1.0');
    await expect(client.share('demo/hello:1.0')).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'lab (dir) cannot share images',
      hint: expect.stringMatching(/^Backends of these drivers can: .*\bhttp\b/),
    });
    const hub = await open('hub');
    await expect(hub.push(IMAGE, 'demo/hello:1.0')).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      hint: expect.stringMatching(/\bdir\b.*\boci\b/),
    });
  });
});

describe('The library', () => {
  test('gets, lists, renames, moves out and removes what was added.', async () => {
    const client = await open('lab');
    const file = join(home, 'hello.sif');
    copyFileSync(IMAGE, file);
    const added = await client.add(file, 'demo/Hello:1.0');
    expect(existsSync(file)).toBe(false);
    expect((await client.get('demo/hello:1.0'))?.file).toBe(added.file);
    expect(await client.get('demo/none')).toBeUndefined();
    expect(await client.images('demo/')).toMatchObject([{ path: added.file, client: 'local' }]);
    expect(await client.labels({ key: 'Version' })).toMatchObject([
      { value: '1.2.3', images: ['local://demo/hello:1.0'] },
    ]);
    expect((await client.rename('demo/hello:1.0', 'Tools/hello:1.0')).name.collection).toBe('tools');
    expect((await client.mv('tools/hello:1.0', file)).file).toBe(file);
    await client.rm('tools/hello:1.0');
    expect(await client.images()).toEqual([]);
  });

  test.each(['SREGISTRY_DISABLE', 'SINGULARITY_DISABLE_CACHE'])('is left alone with %s.', async (name) => {
    env[name] = 'yes';
    const client = await open('lab');
    await expect(client.images()).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(existsSync(join(home, '.singularity'))).toBe(false);
  });
});

describe('An argument of the wrong type', () => {
  const wrong = { collection: 'demo' } as unknown as string;

  test('is a TypeError with the signature.', async () => {
    const client = await open('lab');
    await expect(getClient(wrong, { env })).rejects.toThrow(
      new TypeError('getClient(which?, options?): which must be text, not an object'),
    );
    await expect(client.pull(wrong)).rejects.toThrow(
      new TypeError('pull(image, options?): image must be text, not an object'),
    );
    await expect(client.push(IMAGE, undefined as unknown as string)).rejects.toThrow(
      new TypeError('push(file, image, options?): image must be text, not undefined'),
    );
    await expect(client.search(['a'] as unknown as string)).rejects.toThrow('must be text, not an array');
    for (const call of [client.share, client.delete, client.inspect, client.getMetadata])
      await expect(call(wrong)).rejects.toThrow(TypeError);
    for (const call of [client.cp, client.add, client.rename, client.mv])
      await expect(call(wrong, wrong)).rejects.toThrow(TypeError);
    expect(() => parseImageName(wrong)).toThrow(TypeError);
  });

  test('never reaches the secrets file.', async () => {
    const client = await open('lab');
    const before = readFileSync(join(home, '.sregistry'), 'utf8');
    await expect(client.updateSetting(wrong, 'x')).rejects.toThrow(TypeError);
    await expect(client.getSetting(wrong)).rejects.toThrow(TypeError);
    await expect(client.requireSecrets([wrong])).rejects.toThrow(TypeError);
    await expect(updateClientSecrets(wrong, {})).rejects.toThrow(TypeError);
    await expect(updateClientSecrets('lab', 'x' as never)).rejects.toThrow(TypeError);
    expect(readFileSync(join(home, '.sregistry'), 'utf8')).toBe(before);
  });
});

describe('Settings', () => {
  test('are those of the client: environment, secrets file, the option by any of its names.', async () => {
    const client = await open('lab');
    expect(await client.getSetting('SREGISTRY_LAB_BASE')).toBe(join(home, 'lab'));
    env.SREGISTRY_LAB_COLOR = 'red';
    expect(await client.getSetting('SREGISTRY_LAB_COLOR')).toBe('red');
    await client.requireSecrets(['base', 'color']);
    await expect(client.requireSecrets('token')).rejects.toMatchObject({ code: 'SETTINGS' });
    await client.updateSetting('SREGISTRY_PANCAKES_COLOR', 'blue');
    expect(await client.getSettings('lab')).toMatchObject({ SREGISTRY_PANCAKES_COLOR: 'blue' });
    expect(Object.keys(await client.getSettings())).toEqual(['lab', 'other']);
    expect(client.credentialCache).toBe(join(home, '.singularity/.sregistry/lab'));
  });
});

describe('Requests', () => {
  test('carry the credentials of the backend.', async () => {
    const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    await using server = await startFileServer({ authorization });
    await server.put('notes.json', '{"a":1}');
    configure({ web: { driver: 'http', base: server.url, username: 'me', password: 'secret' } });
    const { http } = await open('web');
    expect((await http.get('notes.json')).json()).toEqual({ a: 1 });
    expect(await http.healthy('none')).toBe(false);
    expect(await http.download('notes.json', join(home, 'notes.json'))).toBe(7);
  });

  test('carry none where the backend has no service.', async () => {
    await using server = await startFileServer();
    await server.put('notes.json', '{"a":1}');
    const { http } = await open('lab');
    expect((await http.get(`${server.url}/notes.json`)).json()).toEqual({ a: 1 });
    expect(server.requests[0]?.headers.authorization).toBeUndefined();
  });
});

test('Metadata of a file has the names that are given, else those of the file.', async () => {
  const client = await open('lab');
  const names = parseImageName('vsoch/hello-world');
  expect(await client.getMetadata(IMAGE, { names })).toMatchObject({
    uri: 'vsoch/hello-world:latest',
    data: { attributes: { labels: { Version: '1.2.3' } } },
  });
  expect((await client.getMetadata(IMAGE)).image).toBe('small-gzip');
});

test('What a client keeps in files is for its user alone.', async () => {
  const { readJson, writeJson } = await import('../../src/client/index.ts');
  const { credentialCache } = await open('lab');
  const file = join(credentialCache as string, 'token.json');
  await writeJson(file, { token: 'abc' });
  expect(await readJson(file)).toEqual({ token: 'abc' });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(credentialCache as string).mode & 0o777).toBe(0o700);
});
