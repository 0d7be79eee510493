/** Promises of the Google Drive driver alone: what the Python client left there, what Drive allows, and what it refuses. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Backend, PushOptions } from '../../src/backends/backend.ts';
import driver from '../../src/backends/drive/index.ts';
import { getThumbnail } from '../../src/image/thumbnail.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type FakeFile, FOLDER } from '../servers/drive/files.ts';
import { type FakeDrive, type FakeDriveOptions, startFakeDrive } from '../servers/drive.ts';
import { googleOAuthClient } from '../servers/google-credentials.ts';
import { OAUTH_CLIENT, type OAuthServerOptions, startOAuthServer } from '../servers/oauth-server.ts';
import { connectDrive, DEFAULTS, type DriveOptions } from './drive/connect.ts';

const NAME = { collection: 'lab', image: 'hello', tag: '1.0' };
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function setUp(fake: FakeDriveOptions = {}, options: Partial<DriveOptions> = {}) {
  const service = await startFakeDrive(fake);
  const connect = async (more: Partial<DriveOptions> = {}) => {
    const made = await connectDrive(service, temporaryFolder(), { ...options, ...more });
    onTestFinished(() => made.close?.());
    return made;
  };
  const backend = await connect();
  onTestFinished(() => service.close());
  return { service, backend, connect };
}

async function push(backend: Backend, bytes: Buffer, name = NAME, options: PushOptions = {}) {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  const image = await backend.push?.({ path, size: bytes.length }, name, options);
  if (image === undefined) throw new Error('no push');
  return image;
}

async function read(
  backend: Backend,
  name: Parameters<Backend['resolve']>[0] = NAME,
): Promise<Buffer | undefined> {
  const image = await backend.resolve(name);
  return image && buffer(await backend.read(image, 0, image.size));
}

const names = async (backend: Backend, collection: string) =>
  (await Array.fromAsync(backend.list(collection)))
    .map((entry) =>
      entry.kind === 'collection'
        ? `${entry.name}/`
        : `${entry.name.image}:${entry.name.tag}${entry.name.version === undefined ? '' : '@'}`,
    )
    .sort();

/** The folder of the images, made as another client makes it. */
const addRoot = ({ files }: FakeDrive, more: Partial<FakeFile> = {}) =>
  files.add({ name: 'sregistry', mimeType: FOLDER, ...more });

/** An image as the Python client pushes it (main/google_drive/push.py). */
function addPython(
  { files }: FakeDrive,
  root: FakeFile,
  uri: string,
  bytes: Buffer,
  more: Partial<FakeFile> = {},
) {
  const [collection = '', image = '', tag = ''] = uri.split(/[/:]/);
  const version = sha256(bytes);
  const storage = `${uri}@${version}.sif`;
  const properties = { type: 'container', collection, image, tag, version, MAINTAINER: 'vanessasaur' };
  return files.add({ name: storage, parents: [root.id], properties, bytes, ...more });
}

const bodies = ({ requests }: FakeDrive, pattern: RegExp) =>
  requests.filter(({ method, url }) => pattern.test(`${method} ${url}`)).length;

describe('Images of the Python client', () => {
  test('are found in its folder, wherever that lies, by tag and by version.', async () => {
    const { service, backend } = await setUp();
    const elsewhere = service.files.add({ name: 'work', mimeType: FOLDER });
    const root = addRoot(service, { parents: [elsewhere.id] });
    const bytes = randomBytes(1000);
    addPython(service, root, 'lab/hello:1.0', bytes);
    service.files.add({ name: 'lab/notes:1.sif', parents: [root.id], bytes: randomBytes(9) });
    expect(await names(backend, '')).toEqual(['lab/']);
    expect(await names(backend, 'lab')).toEqual(['hello:1.0', 'hello:1.0@']);
    const image = await backend.resolve(NAME);
    expect(image).toMatchObject({
      digest: `sha256:${sha256(bytes)}`,
      annotations: { MAINTAINER: 'vanessasaur' },
    });
    expect(await read(backend)).toEqual(bytes);
    expect(await read(backend, { ...NAME, version: sha256(bytes) })).toEqual(bytes);
    const found = await Array.fromAsync(backend.search?.({ query: 'hello' }) ?? []);
    expect(found).toHaveLength(2);
  });

  test('stand for their tag, the newest of them, until it has an image of its own.', async () => {
    const { service, backend } = await setUp();
    const root = addRoot(service);
    const [old, young, own] = [randomBytes(10), randomBytes(20), randomBytes(30)];
    addPython(service, root, 'lab/hello:1.0', young, { modified: new Date('2021-02-01') });
    addPython(service, root, 'lab/hello:1.0', old, { modified: new Date('2021-01-01') });
    expect(await read(backend)).toEqual(young);
    await push(backend, own);
    expect(await read(backend)).toEqual(own);
    expect(service.at('lab/hello:1.0.sif', root.id)).toHaveLength(1);
  });

  test('can be removed.', async () => {
    const { service, backend } = await setUp();
    const file = addPython(service, addRoot(service), 'lab/hello:1.0', randomBytes(10));
    const image = await backend.resolve(NAME);
    if (image === undefined) throw new Error('absent');
    await backend.remove?.(image);
    expect(file.trashed).toBe(true);
    expect(await backend.resolve(NAME)).toBeUndefined();
  });

  test('in the trash are no images.', async () => {
    const { service, backend } = await setUp();
    addPython(service, addRoot(service), 'lab/hello:1.0', randomBytes(10), { trashed: true });
    addPython(service, addRoot(service, { trashed: true }), 'lab/other:1.0', randomBytes(10));
    expect(await backend.resolve(NAME)).toBeUndefined();
    expect(await names(backend, '')).toEqual([]);
  });
});

describe('Names that repeat', () => {
  async function twice() {
    const set = await setUp();
    const { service, backend } = set;
    await push(backend, randomBytes(10));
    const [first] = service.at('sregistry/lab/hello:1.0.sif');
    if (first === undefined) throw new Error('absent');
    const young = randomBytes(20);
    const modified = new Date(Date.now() + 60_000);
    service.files.add({ name: first.name, parents: first.parents, bytes: young, modified });
    return { ...set, young };
  }

  test('mean the newest file, which is listed once.', async () => {
    const { backend, young } = await twice();
    expect(await read(backend)).toEqual(young);
    expect(await names(backend, 'lab')).toEqual(['hello:1.0']);
  });

  test('do not become more by a push.', async () => {
    const { service, backend } = await twice();
    const bytes = randomBytes(30);
    await push(backend, bytes);
    const all = service.at('sregistry/lab/hello:1.0.sif');
    expect(all).toHaveLength(2);
    expect(all.map(({ revisions }) => revisions.length).sort()).toEqual([1, 2]);
    // The replaced file was modified in the future, as the test has it, and now.
    expect(all.flatMap(({ revisions }) => revisions.at(-1)?.bytes)).toContainEqual(bytes);
  });

  test('are gone together.', async () => {
    const { service, backend } = await twice();
    const image = await backend.resolve(NAME);
    if (image === undefined) throw new Error('absent');
    await backend.remove?.(image);
    expect(service.at('sregistry/lab/hello:1.0.sif')).toEqual([]);
  });

  test('but for the case of letters are other names.', async () => {
    const { service, backend } = await setUp();
    await push(backend, randomBytes(10), { ...NAME, image: 'Hello' });
    expect(await backend.resolve(NAME)).toBeUndefined();
    await push(backend, randomBytes(10));
    expect(await names(backend, 'lab')).toEqual(['Hello:1.0', 'hello:1.0']);
    await push(backend, randomBytes(10), { ...NAME, collection: 'LAB' });
    expect(await names(backend, '')).toEqual(['LAB/', 'lab/']);
    expect(service.at('sregistry')).toHaveLength(1);
  });

  test('of folders that are made at once become one folder.', async () => {
    const { service, connect } = await setUp();
    const backends = await Promise.all([connect(), connect(), connect()]);
    await Promise.all(
      backends.map((backend, number) => push(backend, randomBytes(10), { ...NAME, tag: `${number}` })),
    );
    expect(service.at('sregistry')).toHaveLength(1);
    expect(service.at('sregistry/lab')).toHaveLength(1);
    expect(await names(await connect(), 'lab')).toEqual(['hello:0', 'hello:1', 'hello:2']);
  });

  test('let one of several pushes win that must not replace anything.', async () => {
    const { service, backend, connect } = await setUp();
    await push(backend, randomBytes(10), { ...NAME, tag: 'other' });
    const backends = await Promise.all([connect(), connect(), connect()]);
    const outcomes = await Promise.allSettled(
      backends.map((one, number) => push(one, Buffer.from(`${number}`), NAME, { ifAbsent: true })),
    );
    const won = outcomes.flatMap(({ status }, number) => (status === 'fulfilled' ? [`${number}`] : []));
    expect(won).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'EXISTS' });
    expect(String(await read(backend))).toBe(won[0]);
    expect(service.at('sregistry/lab/hello:1.0.sif')).toHaveLength(1);
  });
});

describe('Metadata', () => {
  const labels = Object.fromEntries(
    Array.from({ length: 40 }, (_, number) => [`LABEL${number}`, `${number}`]),
  );

  test('of up to 124 bytes are properties; a sidecar has all if some are longer.', async () => {
    const { service, backend } = await setUp();
    const annotations = { MAINTAINER: 'vanessasaur', EDGE: 'x'.repeat(120), LONG: 'x'.repeat(121) };
    await push(backend, randomBytes(10), NAME, { annotations });
    const [file] = service.at('sregistry/lab/hello:1.0.sif');
    expect(file?.properties).toMatchObject({
      type: 'container',
      image: 'hello',
      MAINTAINER: 'vanessasaur',
      side: expect.stringMatching(/^json:[0-9a-f]{32}$/),
    });
    expect(file?.properties).toHaveProperty('EDGE');
    expect(file?.properties).not.toHaveProperty('LONG');
    expect((await backend.resolve(NAME))?.annotations).toEqual(annotations);
  });

  test('are at most 30 properties.', async () => {
    const { service, backend } = await setUp();
    await push(backend, randomBytes(10), NAME, { annotations: labels });
    const [file] = service.at('sregistry/lab/hello:1.0.sif');
    expect(Object.keys(file?.properties ?? {})).toHaveLength(30);
    expect((await backend.resolve(NAME))?.annotations).toEqual(labels);
  });

  test('of an image that is replaced do not stay, and neither does its sidecar.', async () => {
    const { service, backend } = await setUp();
    await push(backend, randomBytes(10), NAME, { annotations: labels });
    await push(backend, randomBytes(10), NAME, { annotations: { ONE: '1' } });
    expect((await backend.resolve(NAME))?.annotations).toEqual({ ONE: '1' });
    expect(service.at('sregistry/lab/hello:1.0.sif.json')).toEqual([]);
  });

  test('are no longer those of an image whose bytes another client replaced.', async () => {
    const { service, backend } = await setUp();
    await push(backend, randomBytes(10), NAME, { annotations: { ONE: '1' } });
    const [file] = service.at('sregistry/lab/hello:1.0.sif');
    const bytes = randomBytes(20);
    service.files.update(file as FakeFile, {}, bytes);
    const image = await backend.resolve(NAME);
    expect(image).toMatchObject({ digest: `sha256:${sha256(bytes)}`, annotations: {} });
  });

  test('tell the digest if Drive has not computed it.', async () => {
    const { backend } = await setUp({ lacksSha256: true });
    const bytes = randomBytes(10);
    await push(backend, bytes);
    expect(await backend.resolve(NAME)).toMatchObject({ digest: `sha256:${sha256(bytes)}` });
  });

  test('of long names still fit.', async () => {
    const { backend } = await setUp();
    const name = { collection: 'c'.repeat(120), image: 'i'.repeat(120), tag: 't'.repeat(60) };
    await push(backend, randomBytes(10), name);
    expect(await backend.resolve(name)).toBeDefined();
  });
});

describe('The picture of an image', () => {
  test('is the robot, or the one that is named.', async () => {
    const { service, backend, connect } = await setUp();
    await push(backend, randomBytes(10));
    const [file] = service.at('sregistry/lab/hello:1.0.sif');
    expect(file?.thumbnail).toEqual({
      image: readFileSync(getThumbnail({})).toString('base64url'),
      mimeType: 'image/png',
    });
    const thumbnail = join(temporaryFolder(), 'mine.jpg');
    writeFileSync(thumbnail, Buffer.from('ffd8ffe0aabb', 'hex'));
    await push(await connect({ thumbnail }), randomBytes(10));
    expect(file?.thumbnail).toEqual({ image: '_9j_4Kq7', mimeType: 'image/jpeg' });
  });

  test.each([
    ['a text', 'hello'],
    ['too large', `\x89PNG${'x'.repeat(2 * 1024 * 1024)}`],
  ])('that is %s is an error before anything is sent.', async (_what, content) => {
    const thumbnail = join(temporaryFolder(), 'picture');
    writeFileSync(thumbnail, content, 'latin1');
    const { service, backend } = await setUp({}, { thumbnail });
    await expect(push(backend, randomBytes(10))).rejects.toMatchObject({ code: 'SETTINGS' });
    expect(bodies(service, /uploadType/)).toBe(0);
  });
});

describe('A refusal', () => {
  /** Refuses requests that match with a 403 for this reason. */
  async function refusing(reason: string, pattern: RegExp, times = Number.POSITIVE_INFINITY) {
    let count = 0;
    const set = await setUp({
      fault: (request, response) => {
        if (!pattern.test(`${request.method} ${request.url}`) || count >= times) return false;
        count += 1;
        const error = { code: 403, message: reason, errors: [{ domain: 'x', reason, message: reason }] };
        request.resume();
        response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
        return true;
      },
    });
    return { ...set, count: () => count };
  }

  test.each(['userRateLimitExceeded', 'rateLimitExceeded'])('for %s is repeated.', async (reason) => {
    const { backend, count } = await refusing(reason, /q=/, 2);
    expect(await backend.resolve(NAME)).toBeUndefined();
    expect(count()).toBe(2);
  });

  test('for the rate of chunks goes on with the upload.', async () => {
    const { backend, count } = await refusing('userRateLimitExceeded', /upload_id/, 1);
    const bytes = randomBytes(1000);
    await push(backend, bytes);
    expect(count()).toBe(1);
    expect(await read(backend)).toEqual(bytes);
  });

  test.each([
    ['storageQuotaExceeded', /upload/, 'NO_SPACE', 'shared drive'],
    ['insufficientFilePermissions', /upload/, 'FORBIDDEN', 'permit'],
  ])('for %s is not, and says what to do.', async (reason, pattern, code, hint) => {
    const { backend, count } = await refusing(reason, pattern);
    await expect(push(backend, randomBytes(10))).rejects.toMatchObject({
      code,
      hint: expect.stringContaining(hint),
    });
    expect(count()).toBe(1);
  });

  test.each([
    ['accessNotConfigured', 'SETTINGS', 'enable the Google Drive API'],
    ['insufficientPermissions', 'FORBIDDEN', 'scope'],
    ['dailyLimitExceeded', 'RATE_LIMITED', 'tomorrow'],
  ])('to look for %s is not.', async (reason, code, hint) => {
    const { backend, count } = await refusing(reason, /q=/);
    await expect(backend.check?.()).rejects.toMatchObject({ code, hint: expect.stringContaining(hint) });
    expect(count()).toBe(1);
  });

  test.each([
    ['cannotDownloadAbusiveFile', 'FORBIDDEN', 'acknowledgeAbuse'],
    ['downloadQuotaExceeded', 'RATE_LIMITED', 'wait a day'],
  ])('to read for %s is not.', async (reason, code, hint) => {
    const { backend, count } = await refusing(reason, /revisions/);
    await push(backend, randomBytes(10));
    await expect(read(backend)).rejects.toMatchObject({ code, hint: expect.stringContaining(hint) });
    expect(count()).toBe(1);
  });
});

describe('Sharing', () => {
  test('with a person lets them read, until the time that is told.', async () => {
    const { service, backend } = await setUp();
    const image = await push(backend, randomBytes(10));
    const link = await backend.share?.(image, { email: 'zoe@example.org', expires: 3600 });
    const [file] = service.at('sregistry/lab/hello:1.0.sif');
    expect(file?.permissions).toEqual([
      {
        ...{ id: expect.any(String), role: 'reader', type: 'user', emailAddress: 'zoe@example.org' },
        expirationTime: expect.any(String),
      },
    ]);
    expect(link).toBe(`${service.url}/file/d/${file?.id}/view`);
  });

  test('by a link that expires is an error that says so.', async () => {
    const { backend } = await setUp();
    const image = await push(backend, randomBytes(10));
    await expect(backend.share?.(image, { expires: 60 })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});

describe('The folder', () => {
  test("that is called so in somebody else's drive is not used, unless it is named by its id.", async () => {
    const { service, backend, connect } = await setUp();
    const root = addRoot(service, { owner: 'mallory@example.org', parents: [] });
    await expect(push(backend, randomBytes(10))).rejects.toMatchObject({
      code: 'SETTINGS',
      hint: expect.stringContaining(`folder=${root.id}`),
    });
    const named = await connect({ folder: root.id });
    await push(named, randomBytes(10));
    expect(service.at('lab/hello:1.0.sif', root.id)).toHaveLength(1);
  });

  test('of the user is used although somebody else shares an older one.', async () => {
    const { service, backend } = await setUp();
    addRoot(service, { owner: 'mallory@example.org', created: new Date(0), parents: [] });
    const root = addRoot(service);
    await push(backend, randomBytes(10));
    expect(service.at('lab/hello:1.0.sif', root.id)).toHaveLength(1);
  });

  test('can be in a shared drive, and only there.', async () => {
    const { service, backend, connect } = await setUp();
    const sharedDrive = service.addSharedDrive('lab');
    const shared = await connect({ sharedDrive });
    const bytes = randomBytes(10);
    await push(shared, bytes);
    expect(service.at('sregistry/lab/hello:1.0.sif', sharedDrive)).toHaveLength(1);
    expect(await read(shared)).toEqual(bytes);
    expect(await names(shared, 'lab')).toEqual(['hello:1.0']);
    const copy = await shared.copy?.((await shared.resolve(NAME)) as never, { ...NAME, tag: '2.0' });
    expect(copy?.size).toBe(10);
    expect(await names(backend, '')).toEqual([]);
  });

  test('that does not exist is an error of the check.', async () => {
    const { backend } = await setUp({}, { folder: 'nowhere' });
    await expect(backend.check?.()).rejects.toMatchObject({ code: 'SETTINGS' });
  });

  test('that somebody else removed and made anew is found again.', async () => {
    const { service, backend } = await setUp();
    await push(backend, randomBytes(10));
    for (const file of service.at('sregistry')) file.trashed = true;
    expect(await backend.resolve(NAME)).toBeUndefined();
    // What was looked up moments ago is trusted.
    await sleep(2100);
    const root = addRoot(service);
    const lab = service.files.add({ name: 'lab', mimeType: FOLDER, parents: [root.id] });
    const bytes = randomBytes(20);
    service.files.add({ name: 'hello:1.0.sif', parents: [lab.id], bytes });
    expect(await read(backend)).toEqual(bytes);
  }, 20_000);

  test.each([
    [{ folder: "x' in parents or 'y" }],
    [{ sharedDrive: '../x' }],
    [{ base: 'http://drive.example.org' }],
  ])('is refused before anything is sent: %j.', async (options) => {
    await expect(
      connectDrive({ url: 'http://127.0.0.1:9' }, temporaryFolder(), options),
    ).rejects.toMatchObject({
      code: 'SETTINGS',
    });
  });
});

describe('Reading', () => {
  test('goes on with the revision that was opened after it was replaced.', async () => {
    const { backend } = await setUp();
    const bytes = randomBytes(1000);
    const image = await push(backend, bytes);
    await push(backend, randomBytes(1000));
    expect(await buffer(await backend.read(image, 10, 100))).toEqual(bytes.subarray(10, 110));
  });

  test('of a revision that Drive has dropped is STALE.', async () => {
    const { backend } = await setUp({ dropsRevisions: true });
    const image = await push(backend, randomBytes(1000));
    await push(backend, randomBytes(1000));
    await expect(backend.read(image, 10, 100)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('works for somebody who may not read revisions, who gets STALE after a replacement.', async () => {
    const { backend } = await setUp({ canReadRevisions: false });
    const bytes = randomBytes(1000);
    const image = await push(backend, bytes);
    expect(await buffer(await backend.read(image, 10, 100))).toEqual(bytes.subarray(10, 110));
    await push(backend, randomBytes(1000));
    await expect(backend.read(image, 10, 100)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('of a handle that is no id is refused.', async () => {
    const { service, backend } = await setUp();
    const image = await push(backend, randomBytes(1000));
    const before = service.requests.length;
    const handle = { ...image.handle, id: '../about' };
    await expect(backend.read({ ...image, handle }, 0, 10)).rejects.toMatchObject({ code: 'STALE' });
    expect(service.requests.length).toBe(before);
  });
});

test('The bytes of a push go to no other host than the API.', async () => {
  const { backend } = await setUp({
    fault: (request, response) => {
      if (!/uploadType=resumable/.test(request.url ?? '')) return false;
      request.resume();
      response.writeHead(200, { location: 'http://127.0.0.1:9/upload' }).end();
      return true;
    },
  });
  await expect(push(backend, randomBytes(10))).rejects.toMatchObject({
    code: 'SERVICE',
    message: expect.stringContaining('usable address'),
  });
});

test.each([['{"files":{}}'], ['{"files":[{"id":"../x","name":"x","mimeType":"x"}]}'], ['[]'], ['null']])(
  'The listing %s is the error SERVICE.',
  async (answer) => {
    const { backend } = await setUp({
      fault: (request, response) => {
        if (!/q=/.test(request.url ?? '')) return false;
        response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
        return true;
      },
    });
    await expect(backend.resolve(NAME)).rejects.toMatchObject({ code: 'SERVICE' });
  },
);

describe('A login', () => {
  const SCOPE = 'https://www.googleapis.com/auth/drive';

  async function startLogin(oauthOptions: OAuthServerOptions = {}) {
    const oauth = await startOAuthServer({ scope: SCOPE, rotates: false, ...oauthOptions });
    const service = await startFakeDrive({
      accepts: (token) => oauth.given.some(({ access_token }) => access_token === token),
    });
    const folder = temporaryFolder();
    const credentials = join(folder, 'client.json');
    writeFileSync(credentials, JSON.stringify(googleOAuthClient(oauth.url, OAUTH_CLIENT.clientId)));
    onTestFinished(() => oauth.close());
    onTestFinished(() => service.close());
    const env = { SREGISTRY_CREDENTIALS_CACHE: folder };
    const context = (more: Partial<DriveOptions> = {}) => ({
      name: 'google-drive',
      options: { ...DEFAULTS, credentials, base: service.url, ...more },
      env,
    });
    const connect = (more: Partial<DriveOptions> = {}) => {
      const backend = driver.create(context(more));
      onTestFinished(() => backend.close?.());
      return backend;
    };
    /** The login of the Python client (oauth2client.file.Storage). */
    const python = join(folder, '.sregistry/google-drive');
    return { oauth, service, folder, context, connect, python };
  }

  /** A person with a browser. */
  const browser = (seen: URL[] = []) => ({
    isInteractive: true,
    ask: async () => '',
    show: ({ url }: { url: string }) => {
      seen.push(new URL(url));
      fetch(url).catch(() => {});
    },
  });

  test('is granted in a browser, and gives a refresh token.', async () => {
    const { context, connect } = await startLogin();
    const seen: URL[] = [];
    const changes = await driver.login?.(context(), browser(seen));
    expect(Object.keys(changes ?? {})).toEqual(['refreshToken']);
    expect(Object.fromEntries(seen[0]?.searchParams ?? [])).toMatchObject({
      access_type: 'offline',
      prompt: 'consent',
      scope: SCOPE,
      code_challenge_method: 'S256',
    });
    const backend = connect(changes);
    await backend.check?.();
    await push(backend, randomBytes(10));
    expect(await names(backend, 'lab')).toEqual(['hello:1.0']);
  });

  test('takes the path of the file as a person writes it.', async () => {
    const { context, folder } = await startLogin();
    const { options, env, name } = context();
    const asked = { ...options, credentials: undefined } as unknown as DriveOptions;
    const ui = { ...browser(), ask: async () => '~/client.json' };
    const changes = await driver.login?.({ name, options: asked, env: { ...env, HOME: folder } }, ui);
    expect(changes).toEqual({
      credentials: join(folder, 'client.json'),
      refreshToken: expect.any(String),
    });
  });

  /** A person with a browser on another machine, who pastes what it could not open, or only the code in it. */
  const browserElsewhere = (paste: (redirect: URL) => string) => {
    let invited = '';
    return {
      isInteractive: true,
      browserElsewhere: true,
      ask: async () => {
        const { headers } = await fetch(invited, { redirect: 'manual' });
        return paste(new URL(headers.get('location') ?? ''));
      },
      show: ({ url }: { url: string }) => {
        invited = url;
      },
    };
  };

  test.each([
    ['the address', ({ href }: URL) => ` ${href}\n`],
    ['the code', ({ searchParams }: URL) => searchParams.get('code') ?? ''],
  ])('is granted in a browser elsewhere, of which %s is pasted.', async (_what, paste) => {
    const { context, connect } = await startLogin();
    await connect(await driver.login?.(context(), browserElsewhere(paste))).check?.();
  });

  test('with the address of another login is refused, and with none canceled.', async () => {
    const { context } = await startLogin();
    const forged = ({ href }: URL) => href.replace(/state=[^&]*/, 'state=another');
    await expect(driver.login?.(context(), browserElsewhere(forged))).rejects.toThrow();
    const nothing = driver.login?.(
      context(),
      browserElsewhere(() => ''),
    );
    await expect(nothing).rejects.toMatchObject({ code: 'CANCELED' });
  });

  test('can ask for less.', async () => {
    const { context } = await startLogin({ scope: `${SCOPE}.file` });
    expect(await driver.login?.(context({ scope: 'drive.file' }), browser())).toHaveProperty('refreshToken');
  });

  test('that a person refuses is FORBIDDEN.', async () => {
    const { context } = await startLogin({ person: 'refuse' });
    await expect(driver.login?.(context(), browser())).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('of the Python client is used if it belongs to the same OAuth client.', async () => {
    const { oauth, connect, folder, python } = await startLogin();
    oauth.given.push({ access_token: 'old', refresh_token: 'python-token' });
    const login = { client_id: OAUTH_CLIENT.clientId, refresh_token: 'python-token', invalid: false };
    mkdirSync(join(folder, '.sregistry'));
    writeFileSync(python, JSON.stringify({ ...login, client_id: 'another' }));
    await expect(connect().check?.()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: 'sregistry auth login google-drive',
    });
    writeFileSync(python, JSON.stringify({ ...login, invalid: true }));
    await expect(connect().check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    writeFileSync(python, JSON.stringify(login));
    await expect(connect().check?.()).resolves.toBeUndefined();
  });

  test('ends with a logout, also the one of the Python client and what was rotated.', async () => {
    const { oauth, context, connect, folder, python } = await startLogin({ rotates: true, once: true });
    const changes = await driver.login?.(context(), browser());
    await connect(changes).check?.();
    const rotated = join(folder, '.sregistry/google-drive.json');
    expect(JSON.parse(readFileSync(rotated, 'utf8'))).toHaveProperty('login');
    oauth.given.unshift({ access_token: 'old', refresh_token: 'python-token' });
    writeFileSync(
      python,
      JSON.stringify({ client_id: OAUTH_CLIENT.clientId, refresh_token: 'python-token' }),
    );
    await driver.logout?.(context(changes));
    expect(existsSync(python)).toBe(false);
    expect(JSON.parse(readFileSync(rotated, 'utf8'))).toEqual({});
    expect(oauth.given).toEqual([]);
    await expect(connect(changes).check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    // Already revoked: no error.
    await driver.logout?.(context(changes));
  });

  test.each([
    ['nothing', '{}', 'neither an OAuth client nor a service account'],
    ['no JSON', 'hello', 'malformed'],
    ['endpoints in the clear', JSON.stringify(googleOAuthClient('http://mallory.example', 'x')), 'neither'],
  ])('with a file that holds %s is an error that says so.', async (_what, content, words) => {
    const credentials = join(temporaryFolder(), 'file.json');
    writeFileSync(credentials, content);
    const { connect } = await startLogin();
    await expect(connect({ credentials }).check?.()).rejects.toMatchObject({
      code: 'SETTINGS',
      message: expect.stringContaining(words),
    });
  });
});
