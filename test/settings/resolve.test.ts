import { expect, test } from 'vitest';
import { redact } from '../../src/log/index.ts';
import { resolveOptions } from '../../src/settings/resolve.ts';

const SCHEMA = {
  base: { env: 'SREGISTRY_STORE_URL', type: 'url', required: true, describe: 'Where it is' },
  secretAccessKey: { env: ['STORE_KEY', 'STORE_KEY_OLD'], secret: true, describe: 'Key' },
  insecure: { type: 'boolean', default: 'no', describe: 'Plain HTTP' },
  region: { describe: 'Region' },
} as const;

const resolve = (env: NodeJS.ProcessEnv, secrets = {}, instance = 'store') =>
  resolveOptions({ instance, driver: 'store', schema: SCHEMA, env, secrets });

test('names what is missing and gives defaults', () => {
  expect(resolve({})).toEqual({
    values: { insecure: false },
    sources: { insecure: 'default' },
    places: { insecure: 'the default' },
    missing: ['base'],
  });
});

test('prefers the environment to the secrets file and that to the default', () => {
  const secrets = { store: { base: 'http://file', region: 'eu', insecure: 'yes' } };
  expect(resolve({ SREGISTRY_STORE_BASE: 'http://env' }, secrets)).toEqual({
    values: { base: 'http://env', region: 'eu', insecure: true },
    sources: { base: 'environment', region: 'secrets', insecure: 'secrets' },
    places: {
      base: 'SREGISTRY_STORE_BASE',
      region: '"region" of "store" in the secrets file',
      insecure: '"insecure" of "store" in the secrets file',
    },
    missing: [],
  });
});

test("prefers the instance's own variable to those of the schema, and the earlier of those", () => {
  const env = { SREGISTRY_STORE_BASE: 'http://own', SREGISTRY_STORE_URL: 'http://schema' };
  expect(resolve(env).values.base).toBe('http://own');
  expect(resolve({ SREGISTRY_STORE_URL: 'http://schema' }).values.base).toBe('http://schema');
  expect(resolve({ STORE_KEY_OLD: 'old1', STORE_KEY: 'new1' }).values.secretAccessKey).toBe('new1');
});

test("another instance does not read the schema's variables", () => {
  const { values } = resolve(
    { STORE_KEY: 'key-of-default', SREGISTRY_LAB_STORE_BASE: 'http://lab' },
    {},
    'lab-store',
  );
  expect(values).toEqual({ base: 'http://lab', insecure: false });
});

test.each([
  'secretAccessKey',
  'secret-access-key',
  'SECRET_ACCESS_KEY',
  'SREGISTRY_STORE_SECRET_ACCESS_KEY',
  'STORE_KEY',
])('finds an option in the secrets file under %s', (key) => {
  expect(resolve({}, { store: { [key]: 'value' } }).values.secretAccessKey).toBe('value');
});

test('finds the default instance under an alias too, and no other instance there', () => {
  const request = { schema: SCHEMA, driver: 'gcs', aliases: ['google-storage'], env: {} };
  const secrets = { 'google-storage': { SREGISTRY_GOOGLE_STORAGE_REGION: 'eu' } };
  expect(resolveOptions({ ...request, instance: 'gcs', secrets }).values.region).toBe('eu');
  expect(resolveOptions({ ...request, instance: 'lab', secrets }).values.region).toBeUndefined();
});

test('an empty value counts as none', () => {
  expect(resolve({ SREGISTRY_STORE_BASE: '' }, { store: { base: '', BASE: 'http://x' } }).values.base).toBe(
    'http://x',
  );
});

test('values of the secrets file may be JSON booleans and numbers, not objects', () => {
  const { values } = resolve({}, { store: { insecure: true, region: 7, base: 'http://x' } });
  expect(values).toMatchObject({ insecure: true, region: '7' });
  expect(() => resolve({}, { store: { region: { a: 1 } } })).toThrow(
    /"region" of "store" in the secrets file must be/,
  );
});

test('a value of the wrong type is an error that names option, place and an example', () => {
  expect(() => resolve({ SREGISTRY_STORE_INSECURE: 'maybe' })).toThrow(
    expect.objectContaining({
      code: 'SETTINGS',
      message: 'The option insecure of store is not a boolean: SREGISTRY_STORE_INSECURE ("maybe").',
      hint: 'It should look like yes or no',
    }),
  );
  expect(() => resolve({}, { store: { base: 'localhost:5000' } })).toThrow(
    /base of store is not a URL: "base" of "store" in the secrets file \("localhost:5000"\)/,
  );
});

test('a secret value is hidden from then on', () => {
  resolve({ STORE_KEY: 'wJalrXUtnFEMI' });
  expect(redact('sent wJalrXUtnFEMI')).toBe('sent ***');
});

test('a secret value does not stand in an error', () => {
  const schema = { token: { type: 'url', secret: true, describe: '' } } as const;
  const request = { instance: 'x', driver: 'x', schema, env: { SREGISTRY_X_TOKEN: 'hush' }, secrets: {} };
  expect(() => resolveOptions(request)).toThrow(/not a URL: SREGISTRY_X_TOKEN\.$/);
});
