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

test('options are accepted in any spelling, and variables of the schema keep their names', async () => {
  const { add, read } = secretsFile();
  const keys = await add('s3', 's3', {
    'secret-access-key': 'a',
    SREGISTRY_S3_BUCKET: 'b',
    AWS_ACCESS_KEY_ID: 'c',
  });
  expect(keys).toEqual(['secretAccessKey', 'bucket', 'AWS_ACCESS_KEY_ID']);
  expect(read().s3).toEqual({ secretAccessKey: 'a', bucket: 'b', AWS_ACCESS_KEY_ID: 'c' });
});

test.each([
  ['buckt', 'Did you mean bucket?'],
  ['SREGISTRY_S3_BUCKT', 'Did you mean bucket?'],
  ['colour', 'The options are bucket, accessKeyId, secretAccessKey'],
])('an unknown option such as %s is refused with the nearest, and nothing is written', async (key, hint) => {
  const { add, read } = secretsFile();
  await expect(add('s3', 's3', { bucket: 'b', [key]: 'x' })).rejects.toMatchObject({
    code: 'SETTINGS',
    message: `"${key}" is not an option of the driver s3.`,
    hint,
  });
  expect(read()).toEqual({});
});

test('a required option without a value is refused by its name, and nothing is written', async () => {
  const { add, read } = secretsFile();
  await expect(add('lab', 's3', { accessKeyId: 'a' })).rejects.toMatchObject({
    code: 'SETTINGS',
    message: expect.stringContaining('The backend lab lacks bucket'),
    hint: 'Set it with: sregistry backend add lab --driver s3 bucket=VALUE, or with the variable SREGISTRY_LAB_BUCKET',
  });
  expect(read()).toEqual({});
});

test('a required option may be in the environment, in the entry, or be a secret that a login brings', async () => {
  const file = join(temporaryDir(), '.sregistry');
  const request = { name: 's3', driver: driver('s3'), drivers: DRIVERS, pairs: { accessKeyId: 'a' } };
  await writeInstance({ ...request, env: { SREGISTRY_S3_BUCKET: 'b' } }, file);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ s3: { accessKeyId: 'a' } });
  const { add, read } = secretsFile({ s3: { bucket: 'b' } });
  await add('s3', 's3', { accessKeyId: 'a' });
  expect(read()).toEqual({ s3: { bucket: 'b', accessKeyId: 'a' } });
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
  await add('gcs', 'gcs', { project: 'red' });
  expect(read()).toEqual({ 'google-storage': { SREGISTRY_GOOGLE_STORAGE_BUCKET: 'b', project: 'red' } });
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
