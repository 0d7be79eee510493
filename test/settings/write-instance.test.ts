import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeInstance } from '../../src/settings/write-instance.ts';
import { DRIVERS, driver } from './drivers.ts';
import { temporaryDir } from './temporary.ts';

function secretsFile(content: object = {}) {
  const file = join(temporaryDir(), '.sregistry');
  writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
  const add = (name: string, driverName: string, pairs: Record<string, string>, force = false) =>
    writeInstance({ name, driver: driver(driverName), drivers: DRIVERS, pairs, force }, file);
  return { add, read: () => JSON.parse(readFileSync(file, 'utf8')) };
}

test('a new instance names its driver and keeps its options under their own names', async () => {
  const { add, read } = secretsFile({ other: { x: 'y' } });
  expect(await add('lab', 'oci', { base: 'http://localhost:5000' })).toEqual(['base']);
  expect(read()).toEqual({ other: { x: 'y' }, lab: { driver: 'oci', base: 'http://localhost:5000' } });
});

test('a default instance names no driver', async () => {
  const { add, read } = secretsFile();
  await add('docker', 'oci', { base: 'https://quay.io' });
  expect(read()).toEqual({ docker: { base: 'https://quay.io' } });
});

test('options are accepted in any spelling, variables of the schema keep their names, the rest is prefixed', async () => {
  const { add, read } = secretsFile();
  const keys = await add('s3', 's3', {
    'secret-access-key': 'a',
    SREGISTRY_S3_BUCKET: 'b',
    AWS_ACCESS_KEY_ID: 'c',
    colour: 'd',
    SREGISTRY_S3_SHAPE: 'e',
  });
  expect(keys).toEqual([
    'secretAccessKey',
    'bucket',
    'AWS_ACCESS_KEY_ID',
    'SREGISTRY_S3_COLOUR',
    'SREGISTRY_S3_SHAPE',
  ]);
  expect(read().s3).toEqual({
    secretAccessKey: 'a',
    bucket: 'b',
    AWS_ACCESS_KEY_ID: 'c',
    SREGISTRY_S3_COLOUR: 'd',
    SREGISTRY_S3_SHAPE: 'e',
  });
});

test('a value that is set is replaced by force only, under the key it has', async () => {
  const { add, read } = secretsFile({ registry: { SREGISTRY_REGISTRY_BASE: 'http://one' } });
  await expect(add('registry', 'registry', { base: 'http://two' })).rejects.toMatchObject({ code: 'EXISTS' });
  expect(read()).toEqual({ registry: { SREGISTRY_REGISTRY_BASE: 'http://one' } });
  await add('registry', 'registry', { base: 'http://one' });
  await add('registry', 'registry', { base: 'http://two' }, true);
  expect(read()).toEqual({ registry: { SREGISTRY_REGISTRY_BASE: 'http://two' } });
});

test('an instance keeps its driver unless forced', async () => {
  const { add, read } = secretsFile({ lab: { driver: 'oci' } });
  await expect(add('lab', 's3', { bucket: 'b' })).rejects.toMatchObject({ code: 'EXISTS' });
  await add('lab', 's3', { bucket: 'b' }, true);
  expect(read()).toEqual({ lab: { driver: 's3', bucket: 'b' } });
});

test('the entry of an alias is extended, not doubled', async () => {
  const { add, read } = secretsFile({ 'google-storage': { SREGISTRY_GOOGLE_STORAGE_BUCKET: 'b' } });
  await add('gcs', 'gcs', { colour: 'red' });
  expect(read()).toEqual({
    'google-storage': { SREGISTRY_GOOGLE_STORAGE_BUCKET: 'b', SREGISTRY_GCS_COLOUR: 'red' },
  });
});

test.each(['', '../x', 'a b', 'SREGISTRY_CLIENT', 'token'])('"%s" is no name for a backend', async (name) => {
  const { add, read } = secretsFile();
  await expect(add(name, 'oci', {})).rejects.toMatchObject({ code: 'SETTINGS' });
  expect(read()).toEqual({});
});

test("a driver's name is not given to an instance of another", async () => {
  await expect(secretsFile().add('docker', 's3', {})).rejects.toThrow(
    /"docker" is the name of the driver oci/,
  );
});

test('a value of the wrong type is refused before anything is written', async () => {
  const { add, read } = secretsFile();
  await expect(add('lab', 'oci', { base: 'localhost:5000' })).rejects.toMatchObject({ code: 'SETTINGS' });
  expect(read()).toEqual({});
});
