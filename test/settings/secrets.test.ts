import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test, vi } from 'vitest';
import { bot } from '../../src/log/index.ts';
import {
  activateClient,
  activeBackend,
  deactivateClient,
  deleteClient,
  entryOf,
  readClientSecrets,
  removeClientSecret,
  updateClientSecrets,
} from '../../src/settings/secrets.ts';
import { temporaryDir } from './temporary.ts';

/** A file as the Python client leaves one behind, its first form included. */
const PYTHON = {
  base: 'http://127.0.0.1',
  token: '3c00ebba888c238a50820bb9a1f38518c9360b31',
  username: 'vsoch',
  hub: { base: 'https://singularity-hub.org/api' },
  'google-drive': { SREGISTRY_GOOGLE_DRIVE_ROOT: 'images' },
  globus: { GLOBUS_AUTH_RESPONSE: { access_token: 'a', expires_at_seconds: 1 } },
  SREGISTRY_CLIENT: 'google-drive',
};

function secretsFile(content?: unknown): string {
  const file = join(temporaryDir(), '.sregistry');
  if (content !== undefined) {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
  }
  return file;
}

const onDisk = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

test('a missing file holds nothing and is not created by reading', async () => {
  const file = secretsFile();
  expect(await readClientSecrets(file)).toEqual({});
  expect(existsSync(file)).toBe(false);
});

test('an empty file holds nothing', async () => {
  expect(await readClientSecrets(secretsFile('\n'))).toEqual({});
});

test('the file of the Python client is used unchanged', async () => {
  const secrets = await readClientSecrets(secretsFile(PYTHON));
  expect(secrets).toEqual(PYTHON);
  expect(activeBackend(secrets)).toBe('google-drive');
  expect(entryOf(secrets, 'registry')).toEqual({
    base: 'http://127.0.0.1',
    token: '3c00ebba888c238a50820bb9a1f38518c9360b31',
    username: 'vsoch',
  });
});

test('an update keeps everything else and indents as the Python client does', async () => {
  const file = secretsFile(PYTHON);
  const secrets = await updateClientSecrets('myclient', { pancakes: 'latkes' }, undefined, file);
  expect(secrets).toEqual({ ...PYTHON, myclient: { pancakes: 'latkes' } });
  expect(readFileSync(file, 'utf8')).toBe(`${JSON.stringify(secrets, null, 4)}\n`);
});

test('an update with secrets in hand writes those', async () => {
  const file = secretsFile(PYTHON);
  await updateClientSecrets('myclient', { a: 'b' }, { other: { c: 'd' } }, file);
  expect(onDisk(file)).toEqual({ other: { c: 'd' }, myclient: { a: 'b' } });
});

test('what is written can be read by its owner alone', async () => {
  const created = join(temporaryDir(), 'folder', 'secrets.json');
  await updateClientSecrets('hub', { base: 'x' }, undefined, created);
  expect(statSync(created).mode & 0o777).toBe(0o600);

  const opened = secretsFile({});
  chmodSync(opened, 0o644);
  await updateClientSecrets('hub', { base: 'x' }, undefined, opened);
  expect(statSync(opened).mode & 0o777).toBe(0o600);
});

test('nothing but the file is left behind', async () => {
  const file = secretsFile({});
  await updateClientSecrets('hub', { base: 'x' }, undefined, file);
  expect(readdirSync(join(file, '..'))).toEqual(['.sregistry']);
});

test('a link is followed, and stays a link even where its target is yet to be made', async () => {
  const dir = temporaryDir();
  const link = join(dir, 'link');
  symlinkSync('target.json', link);
  await updateClientSecrets('a', { b: 'c' }, undefined, link);
  await updateClientSecrets('a', { d: 'e' }, undefined, link);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(onDisk(join(dir, 'target.json'))).toEqual({ a: { b: 'c', d: 'e' } });
});

test.each([
  ['{"hub": {"base": "secret-value"}\n "x": 1}', 'line 2, column 2: comma expected'],
  ['{\n  "hub": {\n    "base": secret-value\n  }\n}', 'line 3, column 13'],
  ['{"hub": "x",}', 'line 1, column 13'],
  ['{"hub": {', 'line 1, column 10'],
  ['["secret-value"]', 'line 1, column 1: it must hold a JSON object'],
])(
  'a malformed file is an error that names file, line and column, quotes nothing, and it is never overwritten',
  async (text, place) => {
    const file = secretsFile(text);
    for (const attempt of [
      () => readClientSecrets(file),
      () => updateClientSecrets('a', { b: 'c' }, undefined, file),
    ]) {
      const error = await attempt().then(
        () => undefined,
        (failure: Error) => failure,
      );
      expect(error).toMatchObject({ code: 'SETTINGS' });
      expect(error?.message).toContain(file);
      expect(error?.message).toContain(place);
      expect(error?.message).not.toContain('secret-value');
    }
    expect(readFileSync(file, 'utf8')).toBe(text);
  },
);

test('warns once when others can read the file, and not when they cannot', async () => {
  const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
  const closed = secretsFile({});
  const open = secretsFile({});
  chmodSync(open, 0o640);
  await readClientSecrets(closed);
  await readClientSecrets(open);
  await readClientSecrets(open);
  expect(warning.mock.calls).toEqual([[expect.stringContaining(`chmod 600 ${open}`)]]);
  warning.mockRestore();
});

test('many writers at once lose nothing', async () => {
  const file = secretsFile(PYTHON);
  const names = Array.from({ length: 12 }, (_, index) => `client-${index}`);
  await Promise.all(names.map((name) => updateClientSecrets(name, { name }, undefined, file)));
  expect(Object.keys(onDisk(file))).toEqual(expect.arrayContaining([...Object.keys(PYTHON), ...names]));
});

test('two processes that write at once lose nothing', async () => {
  const file = secretsFile({});
  const module = join(import.meta.dirname, '../../src/settings/secrets.ts');
  const writer = (name: string) =>
    promisify(execFile)(process.execPath, [
      '--input-type=module',
      '-e',
      `import { updateClientSecrets } from ${JSON.stringify(module)};
       for (let i = 0; i < 8; i++) await updateClientSecrets('${name}', { ['key' + i]: i }, undefined, ${JSON.stringify(file)});`,
    ]);
  await Promise.all([writer('one'), writer('two')]);
  const { one, two } = onDisk(file);
  expect([Object.keys(one).length, Object.keys(two).length]).toEqual([8, 8]);
});

test('a setting is removed by any of its names', async () => {
  const file = secretsFile({
    nvidia: { SREGISTRY_NVIDIA_TOKEN: 'x', base: 'nvcr.io' },
    'google-drive': { 'SREGISTRY_GOOGLE-DRIVE_ROOT': 'y' },
  });
  expect(await removeClientSecret('nvidia', 'token', file)).toBe(true);
  expect(await removeClientSecret('google-drive', 'SREGISTRY_GOOGLE_DRIVE_ROOT', file)).toBe(true);
  expect(await removeClientSecret('nvidia', 'token', file)).toBe(false);
  expect(await removeClientSecret('nobody', 'token', file)).toBe(false);
  expect(onDisk(file)).toEqual({ nvidia: { base: 'nvcr.io' }, 'google-drive': {} });
});

test("a registry's settings at the root of the file are removed with it", async () => {
  const file = secretsFile({ base: 'b', token: 't', registry: { SREGISTRY_REGISTRY_TOKEN: 't2' }, hub: {} });
  expect(await removeClientSecret('registry', 'token', file)).toBe(true);
  expect(onDisk(file)).toEqual({ base: 'b', registry: {}, hub: {} });
  expect(await deleteClient('registry', file)).toBe(true);
  expect(onDisk(file)).toEqual({ hub: {} });
});

test('deleting the active backend deactivates it', async () => {
  const file = secretsFile(PYTHON);
  expect(await deleteClient('google-drive', file)).toBe(true);
  expect(await deleteClient('google-drive', file)).toBe(false);
  expect(onDisk(file)).not.toHaveProperty('SREGISTRY_CLIENT');
});

test('a backend is activated and deactivated', async () => {
  const file = secretsFile();
  await activateClient('s3', file);
  expect(activeBackend(onDisk(file))).toBe('s3');
  expect(await deactivateClient(file)).toBe(true);
  expect(await deactivateClient(file)).toBe(false);
  expect(activeBackend(onDisk(file))).toBeUndefined();
});

test('a value at the root of the file is not replaced by an entry', async () => {
  const file = secretsFile(PYTHON);
  await expect(updateClientSecrets('token', { a: 'b' }, undefined, file)).rejects.toMatchObject({
    code: 'SETTINGS',
  });
  await expect(updateClientSecrets('SREGISTRY_CLIENT', { a: 'b' }, undefined, file)).rejects.toMatchObject({
    code: 'SETTINGS',
  });
  expect(onDisk(file)).toEqual(PYTHON);
});

test('a backend may be called like a property that every object has', async () => {
  const file = secretsFile();
  await updateClientSecrets('__proto__', { a: 'b' }, undefined, file);
  await updateClientSecrets('constructor', { c: 'd' }, undefined, file);
  expect(readFileSync(file, 'utf8')).toContain('"__proto__"');
  expect(entryOf(await readClientSecrets(file), 'constructor')).toEqual({ c: 'd' });
  expect(entryOf({}, 'toString')).toBeUndefined();
});
