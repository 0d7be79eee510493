import { writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import driver from '../../src/backends/aws/index.ts';
import { placeOf } from '../../src/backends/aws/place.ts';
import type { Backend } from '../../src/backends/backend.ts';
import { redact } from '../../src/log/index.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { startEcr, type TestEcr } from '../servers/ecr.ts';
import { startFaultServer } from '../servers/http-faults.ts';

const SIF = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');
const NAME = { collection: 'lab/deep', image: 'x', tag: '1' };
const OPTIONS = {
  account: '123456789012',
  region: 'eu-central-1',
  accessKeyId: undefined,
  secretAccessKey: undefined,
  sessionToken: undefined,
  profile: undefined,
  create: true,
  base: undefined,
  arch: undefined,
  endpoint: undefined,
  nohttps: undefined,
  soci: undefined,
};
type Full = Backend & Required<Pick<Backend, 'push' | 'remove' | 'check' | 'search'>>;

const open: Backend[] = [];
const connect = (options: Partial<Record<keyof typeof OPTIONS, string | boolean>>): Full => {
  const values = { ...OPTIONS, ...options } as typeof OPTIONS;
  const backend = driver.create({ name: 'ours', options: values, env: { HOME: '/nonexistent' } });
  open.push(backend);
  return backend as Full;
};

/** A machine on which nobody has configured anything. */
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent/config');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nonexistent/credentials');
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(open.splice(0).map((backend) => backend.close?.()));
});

describe('The place', () => {
  test.each([
    [{}, '123456789012.dkr.ecr.eu-central-1.amazonaws.com', 'https://api.ecr.eu-central-1.amazonaws.com/'],
    [
      { region: 'cn-north-1' },
      '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn',
      'https://api.ecr.cn-north-1.amazonaws.com.cn/',
    ],
    [{ account: 'public' }, 'public.ecr.aws', 'https://api.ecr-public.us-east-1.amazonaws.com/'],
    [{ base: 'mirror.example.org' }, 'mirror.example.org', 'https://api.ecr.eu-central-1.amazonaws.com/'],
  ])('of %j is %s.', (options, registry, api) => {
    const place = placeOf('aws', { ...OPTIONS, ...options });
    expect({ ...place, api: place.api.href }).toMatchObject({ registry, api });
  });

  test('of the public registry has the alias of the account in front of the names of the API.', () => {
    expect(placeOf('aws', { ...OPTIONS, account: 'public' }).repositoryName('a1b2/lab/x')).toBe('lab/x');
  });

  test.each([{ account: '12' }, { account: '123456789012.evil.org/' }, { region: 'nowhere.evil.org' }])(
    'that is none is refused: %j',
    (options) => {
      expect(() => connect(options)).toThrow(expect.objectContaining({ code: 'SETTINGS' }));
    },
  );
});

needs({ s3: true, registry: true })('Amazon ECR', () => {
  let ecr: TestEcr;
  beforeAll(async () => {
    ecr = await startEcr();
  });
  afterAll(() => ecr.close());
  const ours = (options: Parameters<typeof connect>[0] = {}) =>
    connect({ base: ecr.url, endpoint: ecr.api, ...ecr.login, ...options });
  const file = async () => ({ path: SIF, size: (await stat(SIF)).size });

  test('logs in with the password of the API, and makes the repository of a push, once.', async () => {
    const backend = ours();
    const pushed = await backend.push(await file(), NAME);
    expect(await ecr.repositories()).toContain('lab/deep/x');
    await backend.push(await file(), { ...NAME, tag: '2' });
    expect(await backend.resolve(NAME)).toEqual(pushed);
    expect(await buffer(await backend.read(pushed, 0, 10))).toHaveLength(10);
    expect(redact('it is 123456789012-auth-token')).toBe('it is ***');
  });

  test('lists what the API knows, as the registry has no catalog.', async () => {
    const backend = ours();
    await backend.push(await file(), { ...NAME, collection: 'listed' });
    expect(await Array.fromAsync(backend.list('listed'))).toMatchObject([
      { kind: 'image', name: { image: 'x', tag: '1' } },
    ]);
    expect(await Array.fromAsync(backend.list(''))).toContainEqual({ kind: 'collection', name: 'listed' });
  });

  test('makes no repository where that is not wanted.', async () => {
    const backend = ours({ create: false });
    const pushed = backend.push(await file(), { ...NAME, collection: 'unwanted' });
    await expect(pushed).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await ecr.repositories()).not.toContain('unwanted/x');
  });

  test("finds the access key as AWS's tools do.", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', ecr.login.accessKeyId);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', ecr.login.secretAccessKey);
    await ours({ accessKeyId: undefined, secretAccessKey: undefined } as never).check();
  });

  test('is refused with a wrong secret: the API compares the signature.', async () => {
    const wrong = ours({ secretAccessKey: 'wrong' });
    await expect(wrong.check()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('sregistry auth login ours'),
    });
  });

  test('without credentials says what is missing.', async () => {
    const nobody = ours({ accessKeyId: undefined, secretAccessKey: undefined } as never);
    await expect(nobody.check()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('AWS'),
    });
  });
});

describe('The API', () => {
  const TOKEN = Buffer.from('AWS:pass-of-hours').toString('base64');
  /** A registry that takes the password, and the API that `answer` plays beside it. */
  const startBoth = (answer: (headers: IncomingHttpHeaders) => [status: number, body: object]) =>
    startFaultServer(({ headers, url }, response) => {
      if (url?.startsWith('/v2/')) {
        const known = headers.authorization === `Basic ${TOKEN}`;
        response.writeHead(known ? 200 : 401, { 'www-authenticate': 'Basic realm="ecr"' }).end('{}');
        return;
      }
      const [status, body] = answer(headers);
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
    });
  const lent = (seconds: number) => ({
    authorizationData: [{ authorizationToken: TOKEN, expiresAt: Date.now() / 1000 + seconds }],
  });
  const KEY = { accessKeyId: 'a', secretAccessKey: 'b' };

  test('lends a password for hours: it is asked for once, and again shortly before its end.', async () => {
    let lifetime = 43_200;
    const asked: unknown[] = [];
    await using server = await startBoth((headers) => {
      asked.push(headers['x-amz-target']);
      return [200, lent(lifetime)];
    });
    const backend = connect({ base: server.url, endpoint: server.url, ...KEY });
    await backend.check();
    await backend.check();
    expect(asked).toEqual(['AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken']);
    lifetime = 59;
    const short = connect({ base: server.url, endpoint: server.url, ...KEY });
    await short.check();
    const before = asked.length;
    await short.check();
    expect(asked.length).toBeGreaterThan(before);
    // By a clock that is wrong, it has ended already.
    lifetime = -43_200;
    const late = connect({ base: server.url, endpoint: server.url, ...KEY });
    await late.check();
    const once = asked.length;
    await late.check();
    expect(asked.length).toBe(once);
  });

  test('of the public registry is another one.', async () => {
    const asked: unknown[] = [];
    await using server = await startBoth((headers) => {
      asked.push([headers['x-amz-target'], /\/us-east-1\/ecr-public\//.test(headers.authorization ?? '')]);
      return [200, { authorizationData: { authorizationToken: TOKEN } }];
    });
    await connect({ account: 'public', base: server.url, endpoint: server.url, ...KEY }).check();
    expect(asked).toEqual([['SpencerFrontendService.GetAuthorizationToken', true]]);
  });

  test('that calls a temporary key expired is asked again with a new one.', async () => {
    const folder = temporaryFolder();
    const keep = (token: string) =>
      writeFileSync(
        join(folder, 'credentials'),
        `[default]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = ${token}\n`,
      );
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(folder, 'credentials'));
    keep('ended');
    await using server = await startBoth((headers) => {
      if (headers['x-amz-security-token'] === 'good') return [200, lent(43_200)];
      keep('good');
      return [400, { __type: 'ExpiredTokenException', message: 'The security token has expired' }];
    });
    await connect({ base: server.url, endpoint: server.url }).check();
  });

  test.each([
    ['AccessDeniedException', 'FORBIDDEN'],
    ['com.amazonaws.ecr#UnrecognizedClientException', 'UNAUTHORIZED'],
    ['constructor', 'SERVICE'],
  ])('that says %s means %s, in its own words.', async (type, code) => {
    await using server = await startBoth(() => [400, { __type: type, message: 'Not you' }]);
    const refused = connect({ base: server.url, endpoint: server.url, ...KEY }).check();
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringContaining('Not you') });
  });

  test.each([{}, { authorizationData: 'x' }, { authorizationData: [{ authorizationToken: 'QVdT' }] }])(
    'that answers nonsense is the error SERVICE: %j',
    async (body) => {
      await using server = await startBoth(() => [200, body]);
      const refused = connect({ base: server.url, endpoint: server.url, ...KEY }).check();
      await expect(refused).rejects.toMatchObject({ code: 'SERVICE' });
    },
  );
});
