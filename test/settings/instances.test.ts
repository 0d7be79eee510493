import { expect, test } from 'vitest';
import { configuredInstances, instanceNamed, resolveInstance } from '../../src/settings/instances.ts';
import { DRIVERS, driver } from './drivers.ts';

const configured = (secrets: Record<string, unknown>, env: NodeJS.ProcessEnv = {}) =>
  configuredInstances({ drivers: DRIVERS, env, secrets });

test('without any settings there is local', () => {
  expect(configured({})).toEqual({
    instances: [{ name: 'local', driver: 'local', reason: 'always' }],
    problems: [],
  });
});

test('an entry of the secrets file is an instance of the driver it names, or whose name or alias it has', () => {
  const { instances } = configured({
    lab: { driver: 'oci', base: 'http://localhost:5000' },
    'lab-s3': { driver: 's3' },
    google_storage: { SREGISTRY_GOOGLE_STORAGE_BUCKET: 'b' },
    docker: {},
    hub: {},
  });
  expect(instances.slice(1)).toEqual([
    { name: 'lab', driver: 'oci', reason: 'secrets' },
    { name: 'lab-s3', driver: 's3', reason: 'secrets' },
    { name: 'gcs', driver: 'gcs', reason: 'secrets' },
    { name: 'docker', driver: 'oci', reason: 'secrets' },
    { name: 'hub', driver: 'hub', reason: 'secrets' },
  ]);
});

test('two entries of one default instance are one instance', () => {
  expect(configured({ gcs: {}, 'google-compute': {} }).instances).toHaveLength(2);
});

test('an entry of an unknown driver is reported and does not affect the others', () => {
  const { instances, problems } = configured({ lab: { driver: 'ocy' }, 'google-build': {}, hub: {} });
  expect(instances.map(({ name }) => name)).toEqual(['local', 'hub']);
  expect(problems.map(({ message }) => message)).toEqual([
    'The backend "lab" names a driver that does not exist: "ocy".',
    'There is no backend "google-build".',
  ]);
});

test('an entry whose name could be no folder is reported', () => {
  const { instances, problems } = configured({
    '../up': { driver: 'oci' },
    'a/b': { driver: 'oci' },
    '': { driver: 's3' },
  });
  expect(instances).toHaveLength(1);
  expect(problems).toHaveLength(3);
});

test('all required options in the environment make a default instance', () => {
  const env = { SREGISTRY_S3_BUCKET: 'images', AWS_SECRET_ACCESS_KEY: 'key' };
  expect(configured({}, env).instances).toContainEqual({ name: 's3', driver: 's3', reason: 'environment' });
  expect(configured({}, { AWS_SECRET_ACCESS_KEY: 'key' }).instances).toHaveLength(1);
});

test('a driver that requires nothing is not configured by that', () => {
  expect(configured({}, { SREGISTRY_HUB_BASE: 'x' }).instances).toHaveLength(1);
});

test('an option that suffices makes a default instance of a driver that requires none, and no other option does', () => {
  const found = { name: 'dropbox', driver: 'dropbox', reason: 'environment' };
  expect(configured({}, { SREGISTRY_DROPBOX_TOKEN: 'x' }).instances).toContainEqual(found);
  expect(configured({}, { SREGISTRY_DROPBOX_ROOT: 'x' }).instances).not.toContainEqual(found);
});

test('the active backend is one, from the environment before the secrets file', () => {
  const secrets = { SREGISTRY_CLIENT: 'hub' };
  expect(configured(secrets).instances[1]).toEqual({ name: 'hub', driver: 'hub', reason: 'active' });
  expect(configured(secrets, { SREGISTRY_CLIENT: 'google-storage' }).instances.slice(1)).toEqual([
    { name: 'gcs', driver: 'gcs', reason: 'active' },
  ]);
  expect(configured({ SREGISTRY_CLIENT: 'nobody' }).problems).toHaveLength(1);
});

test('the keys of a registry at the root of the file are an entry of registry', () => {
  const secrets = { base: 'http://127.0.0.1', token: 'tok-1', username: 'vsoch' };
  expect(configured(secrets)).toEqual({
    instances: [
      { name: 'local', driver: 'local', reason: 'always' },
      { name: 'registry', driver: 'registry', reason: 'secrets' },
    ],
    problems: [],
  });
  const resolved = resolveInstance({ name: 'registry', driver: driver('registry') }, { env: {}, secrets });
  expect(resolved.values).toEqual({ base: 'http://127.0.0.1', token: 'tok-1' });
});

test('a name means an entry or a default instance, in any case and with _ for -', () => {
  const surroundings = { drivers: DRIVERS, secrets: { lab: { driver: 'oras' } } };
  const named = (name: string) => {
    const instance = instanceNamed(name, surroundings);
    return [instance.name, instance.driver.name];
  };
  expect(named('lab')).toEqual(['lab', 'oci']);
  expect(named('oras')).toEqual(['docker', 'oci']);
  expect(named('Google_Storage')).toEqual(['gcs', 'gcs']);
  expect(() => instanceNamed('nobody', surroundings)).toThrow(/There is no backend "nobody"/);
});

test('an instance of the environment and file has its options from both', () => {
  const secrets = { lab: { driver: 'oci', base: 'http://localhost:5000' } };
  const instance = instanceNamed('lab', { drivers: DRIVERS, secrets });
  expect(resolveInstance(instance, { env: { SREGISTRY_LAB_PASSWORD: 'pass-1' }, secrets })).toEqual({
    values: { base: 'http://localhost:5000', password: 'pass-1' },
    sources: { base: 'secrets', password: 'environment' },
    places: expect.objectContaining({ password: expect.stringContaining('SREGISTRY_LAB_PASSWORD') }),
    missing: [],
  });
});

test("a default instance's options are found under its alias's entry, however that is spelled", () => {
  const secrets = { google_storage: { SREGISTRY_GOOGLE_STORAGE_BUCKET: 'b' } };
  expect(resolveInstance({ name: 'gcs', driver: driver('gcs') }, { env: {}, secrets }).values).toEqual({
    bucket: 'b',
  });
});
