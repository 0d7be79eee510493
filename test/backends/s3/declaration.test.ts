import { expect, test } from 'vitest';
import { drivers } from '../../../src/backends/registry.ts';
import { configuredInstances, instanceNamed, resolveInstance } from '../../../src/settings/instances.ts';

const PYTHON = {
  SREGISTRY_S3_BASE: 'http://127.0.0.1:9000/',
  SREGISTRY_S3_BUCKET: 'mybucket',
  SREGISTRY_S3_SIGNATURE: 's3',
  SREGISTRY_S3_OBJECT_ACL: 'public-read',
};
const LOGIN = { AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'a-s3cr3t' };
const OPTIONS = { base: 'http://127.0.0.1:9000/', bucket: 'mybucket', signature: 's3', acl: 'public-read' };

test('the variables of the Python client and of AWS configure the backend s3', () => {
  const env = { ...PYTHON, ...LOGIN, AWS_REGION: 'eu-west-1' };
  const { instances } = configuredInstances({ drivers, env, secrets: {} });
  expect(instances).toContainEqual({ name: 's3', driver: 's3', reason: 'environment' });
  const { values } = resolveInstance(instanceNamed('s3', { drivers, secrets: {} }), { env, secrets: {} });
  expect(values).toMatchObject({
    ...OPTIONS,
    accessKeyId: 'AKID',
    secretAccessKey: 'a-s3cr3t',
    region: 'eu-west-1',
  });
});

test('the entry of the Python client in the secrets file does, too', () => {
  const secrets = { s3: PYTHON };
  const { values } = resolveInstance(instanceNamed('s3', { drivers, secrets }), { env: {}, secrets });
  expect(values).toMatchObject(OPTIONS);
});

test("AWS's variables are for the backend s3, not for others of the driver", () => {
  const secrets = { ceph: { driver: 's3', bucket: 'b' } };
  const { values } = resolveInstance(instanceNamed('ceph', { drivers, secrets }), { env: LOGIN, secrets });
  expect(values).toMatchObject({ bucket: 'b' });
  expect(values).not.toHaveProperty('accessKeyId');
});
