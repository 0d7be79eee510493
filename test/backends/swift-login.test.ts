/** Logins to Swift: what the options and the environment of a person mean. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import swift from '../../src/backends/swift/index.ts';
import { needs } from '../helpers/skip.ts';
import { type FakeKeystone, KEYSTONE, startKeystone } from '../servers/keystone.ts';
import { startSwift, swiftOptions, type TestSwift } from '../servers/swift.ts';

const { application } = KEYSTONE;

async function checks(options: Record<string, string | undefined>): Promise<void> {
  const backend = swift.create({ name: 'swift', options: swiftOptions(options), env: {} });
  await backend.check?.().finally(() => backend.close?.());
}

needs({ swift: true })('a login to Swift', () => {
  let service: TestSwift;
  let keystone: FakeKeystone;

  beforeAll(async () => {
    service = await startSwift();
    keystone = await startKeystone(service);
  }, 60_000);
  afterAll(async () => {
    await keystone[Symbol.asyncDispose]();
    await service.stop();
  });

  const password = () => ({
    url: keystone.url,
    user: KEYSTONE.user,
    token: KEYSTONE.password,
    region: 'One',
  });

  test('by password names the user, the project and their domains', async () => {
    await checks({ ...password(), tenant: 'lab' });
    expect(keystone.logins.at(-1)).toEqual({
      auth: {
        identity: {
          methods: ['password'],
          password: { user: { name: 'lab', domain: { name: 'Default' }, password: 'lab-secret' } },
        },
        scope: { project: { name: 'lab', domain: { name: 'Default' } } },
      },
    });
    await checks({ ...password(), projectId: 'p1', userDomainId: 'default' });
  });

  test('is found without the version of Keystone in the address', async () => {
    await checks({ ...password(), url: keystone.url.replace('/v3', ''), tenant: 'lab' });
  });

  test('by application credential has no scope', async () => {
    const given = { url: keystone.url, applicationCredentialSecret: application.secret, region: 'One' };
    await checks({ ...given, applicationCredentialId: application.id, tenant: 'lab' });
    await checks({ ...given, applicationCredentialName: application.name, user: KEYSTONE.user });
  });

  test('of the Python client names the project Default', async () => {
    await expect(checks({ ...password(), authtype: 'keystonev3' })).rejects.toThrow('no such project');
    await expect(checks({ ...password(), authtype: 'keystonev2' })).rejects.toMatchObject({
      code: 'SETTINGS',
    });
    await checks({ url: service.url, authtype: 'legacy', ...service.login });
  });

  test('that is refused says so, without the password', async () => {
    const wrong = checks({ ...password(), token: 'wrong-secret', tenant: 'lab' });
    await expect(wrong).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await expect(wrong).rejects.not.toThrow('wrong-secret');
  });

  test('without a project says what to set', async () => {
    await expect(checks(password())).rejects.toMatchObject({
      hint: expect.stringContaining('OS_PROJECT_NAME'),
    });
    const elsewhere = checks({ ...password(), tenant: 'lab', region: 'Three' });
    await expect(elsewhere).rejects.toMatchObject({ hint: expect.stringContaining('One') });
  });

  test('is not needed with a token, which is not renewed', async () => {
    const { auth, login, url, account } = service;
    const headers = { 'x-auth-user': login.user, 'x-auth-key': login.token };
    const authToken = (await fetch(auth, { headers })).headers.get('x-auth-token') ?? '';
    await checks({ url: url + account, authToken });
    await checks({ url: url + account, authToken, authtype: 'preauth' });
    const old = checks({ url: url + account, authToken: `${authToken}0` });
    await expect(old).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });
});

describe('a login to Swift that cannot be', () => {
  test('names what is missing, and its variable', async () => {
    const url = 'https://swift.example.org/auth/v1.0';
    const hint = (name: string) => ({ code: 'SETTINGS', hint: expect.stringContaining(name) });
    await expect(checks({ url })).rejects.toMatchObject(hint('OS_USERNAME'));
    await expect(checks({ url, user: 'a:b' })).rejects.toMatchObject(hint('OS_PASSWORD'));
    await expect(checks({ url, authtype: 'preauth' })).rejects.toMatchObject(hint('OS_AUTH_TOKEN'));
  });
});
