/** Promises of the Dropbox driver alone: its sessions, revisions, links and logins, and what its refusals mean. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Backend, PushOptions } from '../../src/backends/backend.ts';
import driver from '../../src/backends/dropbox/index.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { contentHash } from '../servers/dropbox/files.ts';
import { type FakeDropbox, type FakeDropboxOptions, startFakeDropbox } from '../servers/dropbox.ts';
import { OAUTH_CLIENT, startOAuthServer } from '../servers/oauth-server.ts';
import { connectDropbox, DEFAULTS, type DropboxOptions } from './dropbox/connect.ts';

const NAME = { collection: 'lab', image: 'hello', tag: '1.0' };
const MEBIBYTE = 1024 * 1024;
const LARGE = 20 * MEBIBYTE;
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function setUp(fake: FakeDropboxOptions = {}, options: Partial<DropboxOptions> = {}) {
  const service = await startFakeDropbox(fake);
  const backend = connectDropbox(service, options);
  onTestFinished(() => service.close());
  onTestFinished(() => backend.close?.());
  return { service, backend };
}

async function push(backend: Backend, bytes: Buffer, name = NAME, options: PushOptions = {}) {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  const image = await backend.push?.({ path, size: bytes.length }, name, options);
  if (image === undefined) throw new Error('no push');
  return image;
}

async function read(backend: Backend, name = NAME): Promise<Buffer | undefined> {
  const image = await backend.resolve(name);
  return image && buffer(await backend.read(image, 0, image.size));
}

const names = async (backend: Backend, collection: string) =>
  (await Array.fromAsync(backend.list(collection)))
    .map((entry) =>
      entry.kind === 'collection' ? `${entry.name}/` : `${entry.name.image}:${entry.name.tag}`,
    )
    .sort();

const asked = ({ requests }: FakeDropbox, pattern: RegExp) =>
  requests.filter(({ url }) => pattern.test(url)).length;

/** toEqual looks at each byte by itself, which takes half a minute. */
const expectSame = (bytes: Buffer | undefined, expected: Buffer) =>
  expect(bytes?.equals(expected)).toBe(true);

/** Answers requests that match instead of the service, at most `times` times. */
function instead(pattern: RegExp, status: number, body: object | string, { times = 1, headers = {} } = {}) {
  let count = 0;
  return (request: IncomingMessage, response: ServerResponse) => {
    if (!pattern.test(request.url ?? '') || count >= times) return false;
    count += 1;
    request.resume();
    request.on('end', () =>
      response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body)),
    );
    return true;
  };
}

/** Carries out requests that match, but breaks the connection before the answer, once. */
function loseAnswer(pattern: RegExp) {
  let isLost = false;
  return (request: IncomingMessage, response: ServerResponse) => {
    if (isLost || !pattern.test(request.url ?? '')) return false;
    isLost = true;
    response.writeHead = () => {
      response.destroy();
      return response;
    };
    return false;
  };
}

test('What the Python client pushed is found, and tells the hash that Dropbox knows.', async () => {
  const { service, backend } = await setUp();
  const bytes = randomBytes(1000);
  service.put('/lab/hello:1.0.simg', bytes);
  service.put('/lab/notes.txt', randomBytes(9));
  expect(await names(backend, '')).toEqual(['lab/']);
  expect(await names(backend, 'lab')).toEqual(['hello:1.0']);
  const image = await backend.resolve(NAME);
  expect(image).toMatchObject({ revision: contentHash(bytes), digest: undefined, extension: 'simg' });
  expect(await read(backend, { ...NAME, version: contentHash(bytes) } as typeof NAME)).toEqual(bytes);
});

test('A name in another case is the same image, as it is at Dropbox.', async () => {
  const { service, backend } = await setUp();
  const [first, second] = [randomBytes(10), randomBytes(20)];
  await push(backend, first, { ...NAME, image: 'Hello' });
  expect(await read(backend)).toEqual(first);
  await expect(push(backend, second, NAME, { ifAbsent: true })).rejects.toMatchObject({ code: 'EXISTS' });
  await push(backend, second);
  expect(await names(backend, 'lab')).toEqual(['Hello:1.0']);
  const image = await backend.resolve({ ...NAME, image: 'Hello' });
  if (image === undefined) throw new Error('absent');
  await backend.copy?.(image, NAME);
  expect(service.at('/lab/hello:1.0.sif')).toEqual(second);
});

describe('A large push', () => {
  test('goes in parts at the same time, the last of which closes the session.', async () => {
    const { service, backend } = await setUp();
    const bytes = randomBytes(LARGE);
    const image = await push(backend, bytes);
    expect(image.revision).toBe(contentHash(bytes));
    expect(asked(service, /append_v2/)).toBe(3);
    expectSame(service.at('/lab/hello:1.0.sif'), bytes);
    expect(service.sessions.size).toBe(0);
  });

  test.each([
    ['a part', /append_v2/],
    ['the end', /finish/],
    ['the beginning', /start/],
  ])('bears that the answer to %s is lost.', async (_what, pattern) => {
    const { backend } = await setUp({ fault: loseAnswer(pattern) });
    const bytes = randomBytes(LARGE);
    await push(backend, bytes, NAME, { ifAbsent: true });
    expectSame(await read(backend), bytes);
  });

  test('takes the offset that the service states for what it has.', async () => {
    const body = {
      error_summary: 'incorrect_offset/..',
      error: { '.tag': 'incorrect_offset', correct_offset: LARGE },
    };
    let isTaken = false;
    const { service, backend } = await setUp({
      fault: (request, response) => {
        if (isTaken || !/append_v2/.test(request.url ?? '')) return false;
        isTaken = true;
        // It takes the part, and says that it has it.
        const { cursor } = JSON.parse(String(request.headers['dropbox-api-arg']));
        void buffer(request).then((part) => {
          service.sessions.get(cursor.session_id)?.parts.set(cursor.offset, part);
          response.writeHead(409, { 'content-type': 'application/json' }).end(JSON.stringify(body));
        });
        return true;
      },
    });
    const bytes = randomBytes(LARGE);
    await push(backend, bytes);
    expectSame(service.at('/lab/hello:1.0.sif'), bytes);
    expect(asked(service, /append_v2/)).toBe(3);
  });

  test('begins anew if its session is gone.', async () => {
    const { service, backend } = await setUp();
    const bytes = randomBytes(LARGE);
    let state: Record<string, unknown> = {};
    const controller = new AbortController();
    const resume = {
      load: () => state,
      save: (next: Record<string, unknown>) => {
        state = structuredClone(next);
        if (Object.keys((next.etags ?? {}) as object).length > 0) controller.abort();
      },
    };
    const path = join(temporaryFolder(), 'image.sif');
    writeFileSync(path, bytes);
    const file = { path, size: bytes.length };
    await expect(backend.push?.(file, NAME, { resume, signal: controller.signal })).rejects.toMatchObject({
      code: 'CANCELED',
    });
    expect(Object.keys(state.etags as object)).not.toHaveLength(0);
    service.sessions.clear();
    await backend.push?.(file, NAME, { resume });
    expectSame(service.at('/lab/hello:1.0.sif'), bytes);
    expect(state).toEqual({});
  });
});

describe('A revision', () => {
  test('can be read after it was replaced, and only it.', async () => {
    const { service, backend } = await setUp();
    const [first, second] = [randomBytes(1000), randomBytes(1000)];
    const image = await push(backend, first);
    service.put('/lab/hello:1.0.sif', second);
    expect(await buffer(await backend.read(image, 10, 20))).toEqual(first.subarray(10, 30));
    expect(await read(backend)).toEqual(second);
  });

  test('is the one that is removed or copied, no other.', async () => {
    const { service, backend } = await setUp();
    const image = await push(backend, randomBytes(1000));
    service.put('/lab/hello:1.0.sif', randomBytes(1000));
    await expect(backend.remove?.(image)).rejects.toMatchObject({ code: 'STALE' });
    await expect(backend.copy?.(image, { ...NAME, tag: '2' })).rejects.toMatchObject({ code: 'STALE' });
    expect(service.at('/lab/hello:1.0.sif')).toBeDefined();
  });

  test('of a handle that is no revision is refused.', async () => {
    const { service, backend } = await setUp();
    const image = await push(backend, randomBytes(1000));
    const before = service.requests.length;
    const handle = { ...image.handle, rev: '../about' };
    await expect(backend.read({ ...image, handle }, 0, 10)).rejects.toMatchObject({ code: 'STALE' });
    expect(service.requests.length).toBe(before);
  });
});

test('A copy replaces what is in its way, which comes back if the copy fails.', async () => {
  const copies = instead(/copy_v2/, 409, { error_summary: 'insufficient_quota/', error: {} });
  let calls = 0;
  const { service, backend } = await setUp({
    // The second request, after the one that met the old file.
    fault: (request, response) =>
      /copy_v2/.test(request.url ?? '') && ++calls === 2 && copies(request, response),
  });
  const [first, second] = [randomBytes(10), randomBytes(20)];
  const image = await push(backend, first);
  await push(backend, second, { ...NAME, tag: '2' });
  await expect(backend.copy?.(image, { ...NAME, tag: '2' })).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(service.at('/lab/hello:2.sif')).toEqual(second);
  await backend.copy?.(image, { ...NAME, tag: '2' });
  expect(service.at('/lab/hello:2.sif')).toEqual(first);
  expect((await backend.resolve({ ...NAME, tag: '2' }))?.digest).toBe(sha256(first));
});

describe('A copy over an image', () => {
  /** Does something before the second request to copy, the one after the old file was removed. */
  const setUpCopy = async (then: (service: FakeDropbox) => void) => {
    let calls = 0;
    const { service, backend } = await setUp({
      fault: (request) => {
        if (/copy_v2/.test(request.url ?? '') && ++calls === 2) then(service);
        return false;
      },
    });
    const image = await push(backend, randomBytes(10));
    const old = randomBytes(20);
    await push(backend, old, { ...NAME, tag: '2' });
    return { service, old, copied: backend.copy?.(image, { ...NAME, tag: '2' }) };
  };

  test('does not take the place of what another push has put there meanwhile.', async () => {
    const young = randomBytes(30);
    const { service, copied } = await setUpCopy(({ put }) => put('/lab/hello:2.sif', young));
    await expect(copied).rejects.toMatchObject({ code: 'EXISTS' });
    expect(service.at('/lab/hello:2.sif')).toEqual(young);
  });

  test('brings it back if the original was replaced meanwhile.', async () => {
    const { service, old, copied } = await setUpCopy(({ put }) => put('/lab/hello:1.0.sif', randomBytes(10)));
    await expect(copied).rejects.toMatchObject({ code: 'STALE' });
    expect(service.at('/lab/hello:2.sif')).toEqual(old);
  });
});

describe('A link', () => {
  test('gives the bytes, and is the same the second time.', async () => {
    const { backend } = await setUp();
    const bytes = randomBytes(1000);
    const image = await push(backend, bytes);
    const link = (await backend.share?.(image, {})) ?? '';
    expect(await backend.share?.(image, {})).toBe(link);
    expect(Buffer.from(await (await fetch(link)).arrayBuffer())).toEqual(bytes);
  });

  test('that exists does not pass for one that expires.', async () => {
    const { backend } = await setUp();
    const image = await push(backend, randomBytes(10));
    await backend.share?.(image, { expires: 60 });
    await backend.share?.(image, { expires: 3600 });
    await backend.share?.(image, {});
    await expect(backend.share?.(image, { expires: 10 })).rejects.toMatchObject({ code: 'EXISTS' });
    await expect(backend.share?.(image, { email: 'you@example.org' })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
  });
});

describe('A refusal', () => {
  const summary = (text: string) => ({ error_summary: `${text}/...`, error: { '.tag': text.split('/')[0] } });

  test.each([
    ['path/insufficient_space', 'NO_SPACE'],
    ['path/no_write_permission', 'FORBIDDEN'],
    ['path/disallowed_name', 'INVALID_NAME'],
    ['content_hash_mismatch', 'CORRUPT'],
    ['something_new', 'SERVICE'],
  ])('of a push for %s is the error %s.', async (text, code) => {
    const { backend } = await setUp({ fault: instead(/files\/upload/, 409, summary(text), { times: 9 }) });
    const pushing = push(backend, randomBytes(10), NAME, { ifAbsent: true });
    await expect(pushing).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
  });

  test('of a push that must not replace anything is EXISTS if something is there.', async () => {
    const { backend } = await setUp({ fault: instead(/files\/upload/, 409, summary('path/conflict/file')) });
    const pushing = push(backend, randomBytes(10), NAME, { ifAbsent: true });
    await expect(pushing).rejects.toMatchObject({ code: 'EXISTS' });
  });

  test('for the rate of writes is repeated, after as long as the service says.', async () => {
    const fault = instead(/files\/upload/, 429, summary('too_many_write_operations'), {
      headers: { 'retry-after': '1' },
    });
    const { service, backend } = await setUp({ fault });
    const start = performance.now();
    await push(backend, randomBytes(10));
    expect(performance.now() - start).toBeGreaterThan(990);
    expect(asked(service, /files\/upload/)).toBe(3);
  });

  test('for a scope says which one.', async () => {
    const { backend } = await setUp({ lacks: ['files.content.write'] });
    await expect(push(backend, randomBytes(10))).rejects.toMatchObject({
      code: 'FORBIDDEN',
      hint: expect.stringContaining('developers/apps'),
    });
  });

  test('of a token that is none says how to log in.', async () => {
    const said =
      'Error in call to API function "files/list_folder": The given OAuth 2 access token is malformed.';
    const { backend } = await setUp({ fault: instead(/list_folder/, 400, said) });
    await expect(backend.check?.()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('malformed'),
      hint: expect.stringContaining('sregistry auth login dropbox'),
    });
  });

  test('of a listing that is malformed is SERVICE.', async () => {
    const { backend } = await setUp({ fault: instead(/list_folder/, 200, { entries: {} }) });
    await expect(names(backend, '')).rejects.toMatchObject({ code: 'SERVICE' });
  });
});

test('A team space is named in every request.', async () => {
  const { service, backend } = await setUp({ namespace: '77' }, { pathRoot: '77' });
  await push(backend, randomBytes(LARGE));
  expect(await names(backend, 'lab')).toEqual(['hello:1.0']);
  expect(service.requests.every(({ headers }) => headers['dropbox-api-path-root'] !== undefined)).toBe(true);
  expect(() => connectDropbox(service, { pathRoot: 'home' })).toThrow(/pathRoot/);
});

test('Tokens do not travel in the clear.', () => {
  expect(() => connectDropbox({ url: 'http://dropbox.example' })).toThrow(/in the clear/);
});

describe('A login', () => {
  const SCOPE =
    'account_info.read files.metadata.read files.content.read files.content.write sharing.read sharing.write';

  async function startLogin() {
    const oauth = await startOAuthServer({ rotates: false, scope: SCOPE });
    onTestFinished(() => oauth.close());
    const accepts = (token: string) => oauth.given.some(({ access_token }) => access_token === token);
    const service = await startFakeDropbox({ accepts, oauth: oauth.url });
    onTestFinished(() => service.close());
    const context = (more: Partial<DropboxOptions> = {}) => ({
      name: 'dropbox',
      options: { ...DEFAULTS, base: service.url, ...more },
      env: {},
    });
    return { oauth, service, context };
  }

  /** A person who reads the code on the page. */
  function person(answers: string[] = []) {
    const shown: URL[] = [];
    return {
      shown,
      isInteractive: true,
      ask: async () => answers.shift() ?? (await fetch(String(shown[0]))).text(),
      show: ({ url }: { url: string }) => void shown.push(new URL(url)),
    };
  }

  test('takes the code that Dropbox shows, and lasts.', async () => {
    const { service, context } = await startLogin();
    const ui = person([OAUTH_CLIENT.clientId]);
    const changes = await driver.login?.(context(), ui);
    expect(Object.keys(changes ?? {}).sort()).toEqual(['clientId', 'refreshToken']);
    expect(Object.fromEntries(ui.shown[0]?.searchParams ?? [])).toMatchObject({
      token_access_type: 'offline',
      scope: SCOPE,
    });
    expect(ui.shown[0]?.searchParams.has('redirect_uri')).toBe(false);
    // It counts more than an old token, which is not valid here.
    const backend = driver.create(context({ ...changes, token: 'old' }));
    onTestFinished(() => backend.close?.());
    await backend.check?.();
    await push(backend, randomBytes(10));
    await driver.logout?.(context(changes));
    expect(service.revoked.size).toBe(1);
  });

  test('needs the app that it is for, or a token.', async () => {
    const { context } = await startLogin();
    expect(() => driver.create(context({ refreshToken: 'x' }))).toThrow(/clientId/);
    const backend = driver.create(context());
    onTestFinished(() => backend.close?.());
    await expect(backend.check?.()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: 'sregistry auth login dropbox',
    });
    await expect(driver.login?.(context(), person(['']))).rejects.toMatchObject({ code: 'CANCELED' });
  });

  test('that is refused says so.', async () => {
    const { context } = await startLogin();
    const refused = driver.login?.(context({ clientId: OAUTH_CLIENT.clientId }), person(['wrong']));
    await expect(refused).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    const backend = driver.create(context({ token: 'expired' }));
    onTestFinished(() => backend.close?.());
    await expect(backend.check?.()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('sregistry auth login dropbox'),
    });
  });
});
