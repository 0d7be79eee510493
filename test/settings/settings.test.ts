import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { redact } from '../../src/log/index.ts';
import { createSettings } from '../../src/settings/settings.ts';
import { temporaryDir } from './temporary.ts';

const SCHEMA = {
  id: { describe: '', default: 'none' },
  apiToken: { env: 'FOREIGN_TOKEN', secret: true, describe: '' },
} as const;

function settingsOf(options: { env?: NodeJS.ProcessEnv; secrets?: object; schema?: typeof SCHEMA } = {}) {
  const home = temporaryDir();
  const file = join(home, '.sregistry');
  if (options.secrets) writeFileSync(file, JSON.stringify(options.secrets), { mode: 0o600 });
  const settings = createSettings({
    instance: 'myclient',
    env: { HOME: home, ...options.env },
    ...(options.schema && { schema: options.schema }),
  });
  return { settings, home, file, read: () => JSON.parse(readFileSync(file, 'utf8')) };
}

test('a setting comes from the environment, then the file, then the fallback', async () => {
  const secrets = { myclient: { SREGISTRY_MYCLIENT_ID: 'file' } };
  const both = settingsOf({ env: { SREGISTRY_MYCLIENT_ID: 'env' }, secrets });
  expect(await both.settings.getSetting('SREGISTRY_MYCLIENT_ID')).toBe('env');
  expect(await settingsOf({ secrets }).settings.getSetting('SREGISTRY_MYCLIENT_ID')).toBe('file');
  expect(await settingsOf({ secrets }).settings.getSetting('id')).toBe('file');
  expect(await settingsOf().settings.getSetting('SREGISTRY_MYCLIENT_ID', 'fallback')).toBe('fallback');
  expect(await settingsOf().settings.getSetting('SREGISTRY_MYCLIENT_ID')).toBeUndefined();
});

test('an option of the schema is found by each of its names, and by its default', async () => {
  const { settings } = settingsOf({ env: { FOREIGN_TOKEN: 'tok-foreign' }, schema: SCHEMA });
  for (const name of ['apiToken', 'FOREIGN_TOKEN', 'SREGISTRY_MYCLIENT_API_TOKEN']) {
    expect(await settings.getSetting(name)).toBe('tok-foreign');
  }
  expect(await settings.getSetting('id')).toBe('none');
});

test('the settings of this client, another one, or all', async () => {
  const secrets = { myclient: { a: 'b' }, 'google-storage': { c: 'd' } };
  const { settings } = settingsOf({ secrets });
  expect(await settings.getSettings('myclient')).toEqual({ a: 'b' });
  expect(await settings.getSettings('google-storage')).toEqual({ c: 'd' });
  expect(await settings.getSettings('nobody')).toEqual({});
  expect(await settings.getSettings()).toEqual(secrets);
});

test('reading a setting never writes it to disk', async () => {
  const { settings, file } = settingsOf({ env: { SREGISTRY_MYCLIENT_ID: 'env' } });
  await settings.getSetting('SREGISTRY_MYCLIENT_ID');
  await settings.requireSecrets('SREGISTRY_MYCLIENT_ID');
  expect(existsSync(file)).toBe(false);
});

test('getAndUpdateSetting keeps what the environment gives, and nothing else', async () => {
  const { settings, file, read } = settingsOf({ env: { SREGISTRY_MYCLIENT_ID: 'env' } });
  expect(await settings.getAndUpdateSetting('SREGISTRY_MYCLIENT_COLOR', 'red')).toBe('red');
  expect(existsSync(file)).toBe(false);
  expect(await settings.getAndUpdateSetting('SREGISTRY_MYCLIENT_ID')).toBe('env');
  expect(read()).toEqual({ myclient: { SREGISTRY_MYCLIENT_ID: 'env' } });
});

test('updateSetting keeps text and objects', async () => {
  const { settings, read } = settingsOf();
  await settings.updateSetting('SREGISTRY_PANCAKES_COLOR', 'red');
  await settings.updateSetting('AUTH_RESPONSE', { expires: 1 });
  expect(read()).toEqual({ myclient: { SREGISTRY_PANCAKES_COLOR: 'red', AUTH_RESPONSE: { expires: 1 } } });
  expect(await settings.getSetting<{ expires: number }>('AUTH_RESPONSE')).toEqual({ expires: 1 });
});

test('requireSecrets fails without an entry, or without one of the settings, and says which', async () => {
  const { settings } = settingsOf();
  await expect(settings.requireSecrets()).rejects.toThrow(/The backend myclient has no settings in/);
  const some = settingsOf({ secrets: { myclient: { name: 'x' } } }).settings;
  await some.requireSecrets();
  await some.requireSecrets('name');
  await expect(some.requireSecrets(['name', 'group', 'color'])).rejects.toThrow(/needs group, color/);
});

test('requireSecrets is content with what the environment gives', async () => {
  await settingsOf({ env: { FOREIGN_TOKEN: 'x' }, schema: SCHEMA }).settings.requireSecrets();
});

test('a setting whose name says that it is secret is hidden from then on', async () => {
  const { settings } = settingsOf({ secrets: { myclient: { SREGISTRY_MYCLIENT_TOKEN: 'hushhush1' } } });
  await settings.getSetting('SREGISTRY_MYCLIENT_TOKEN');
  expect(redact('hushhush1')).toBe('***');
});

test("the credential cache is the client's own path, and can be disabled for all or for one", () => {
  const { settings, home } = settingsOf();
  expect(settings.credentialCache).toBe(join(home, '.singularity/.sregistry/myclient'));
  expect(existsSync(join(home, '.singularity'))).toBe(false);
  expect(settingsOf({ env: { SREGISTRY_CREDENTIALS_CACHE: '/c' } }).settings.credentialCache).toBe(
    '/c/.sregistry/myclient',
  );
  for (const env of [
    { SREGISTRY_DISABLE_CREDENTIAL_CACHE: 'yes' },
    { SREGISTRY_DISABLE_CREDENTIAL_MYCLIENT: 'x' },
  ]) {
    expect(settingsOf({ env }).settings.credentialCache).toBeUndefined();
  }
  expect(
    settingsOf({ env: { SREGISTRY_DISABLE_CREDENTIAL_MYCLIENT: 'no' } }).settings.credentialCache,
  ).toBeDefined();
});
