import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { importDependency } from '../../src/backends/optional.ts';
import { drivers } from '../../src/backends/registry.ts';
import { OPENPGP } from '../../src/image/signatures.ts';
import { temporaryCheckout } from '../helpers/checkout.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const ACME = {
  name: 'acme',
  dependencies: [
    { module: 'lru-cache', version: '^11.0.0', purpose: 'to remember' },
    { module: '@acme/no-such-package', version: '^3.2.0', purpose: 'to sign its requests' },
  ],
};

test('a package that is there is imported', async () => {
  const { LRUCache } = await importDependency<typeof import('lru-cache')>(ACME, 'lru-cache');
  expect(new LRUCache({ max: 1 }).max).toBe(1);
});

test('a package that is not there is an error that says who needs it and how to install it', async () => {
  await expect(importDependency(ACME, '@acme/no-such-package/auth')).rejects.toMatchObject({
    code: 'MISSING_DEPENDENCY',
    message: 'The driver acme needs the package @acme/no-such-package to sign its requests',
    hint: expect.stringContaining("npm install '@acme/no-such-package@^3.2.0'"),
  });
});

test('a package that the driver does not declare is a defect', async () => {
  await expect(importDependency(ACME, 'lru')).rejects.toMatchObject({ code: 'INTERNAL' });
});

test('package.json has what is declared as optional peers, in the same versions, and a checkout installs them', () => {
  const path = join(import.meta.dirname, '../../package.json');
  const { dependencies, peerDependencies, peerDependenciesMeta, devDependencies } = JSON.parse(
    readFileSync(path, 'utf8'),
  );
  const declared = [OPENPGP, ...drivers.flatMap((driver) => driver.dependencies ?? [])];
  const versions = Object.fromEntries(declared.map(({ module, version }) => [module, version]));
  expect(peerDependencies).toEqual(versions);
  expect(devDependencies).toMatchObject(versions);
  for (const { module } of declared) {
    expect(peerDependenciesMeta[module]).toEqual({ optional: true });
    expect(dependencies).not.toHaveProperty([module]);
  }
});

test('where packages are not installed, the error and doctor name them and the command, and the rest works', async () => {
  const folder = await temporaryCheckout({
    without: ['google-auth-library', '@smithy/signature-v4', 'openpgp'],
  });
  const home = temporaryFolder();
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    XDG_RUNTIME_DIR: home,
    SREGISTRY_TIMEOUT: '5',
    SREGISTRY_GOOGLE_STORAGE_BUCKET: 'images',
    SREGISTRY_GOOGLE_STORAGE_BASE: 'http://127.0.0.1:1',
    GOOGLE_APPLICATION_CREDENTIALS: join(home, 'key.json'),
    SREGISTRY_S3_BUCKET: 'images',
    SREGISTRY_S3_BASE: 'http://127.0.0.1:1',
    AWS_ACCESS_KEY_ID: 'AKID',
    AWS_SECRET_ACCESS_KEY: 'a-s3cr3t',
  };
  const sregistry = async (...args: string[]) => {
    const command = [join(folder, 'bin/sregistry.js'), ...args];
    const outcome = promisify(execFile)(process.execPath, command, { env, cwd: home });
    return outcome.catch((error) => error as { stdout: string; stderr: string });
  };

  const findings: { name: string; ok: boolean; required: boolean; fix?: string }[] = JSON.parse(
    (await sregistry('doctor', '--json')).stdout,
  );
  const finding = (name: string) => findings.find((each) => each.name === `package ${name}`);
  for (const name of ['google-auth-library', '@smithy/signature-v4', 'openpgp'])
    expect(finding(name)).toMatchObject({
      ok: false,
      required: false,
      fix: expect.stringContaining(`npm install '${name}@`),
    });
  expect(finding('@aws-crypto/sha256-js')).toMatchObject({ ok: true });

  const gcs = await sregistry('pull', 'gcs://lab/hello:1.0');
  expect(gcs.stderr).toContain('The driver gcs needs the package google-auth-library to log in to Google');
  expect(gcs.stderr).toContain("npm install 'google-auth-library@");
  const s3 = await sregistry('pull', 's3://lab/hello:1.0');
  expect(s3.stderr).toContain('The driver s3 needs the package @smithy/signature-v4 to sign requests');
  expect((await sregistry('images')).stderr).toBe('');
});
