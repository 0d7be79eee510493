import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import driver from '../../src/backends/gitlab/index.ts';
import { decode, encode } from '../../src/backends/gitlab/names.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { GITLAB_PROJECT, GITLAB_TOKENS, type GitlabOptions, startFakeGitlab } from '../servers/gitlab.ts';

const NAME = { collection: 'lab', image: 'hello', tag: '1.0' };
type Full = Backend & Required<Pick<Backend, 'push' | 'remove' | 'check' | 'search'>>;

async function start(server: GitlabOptions = {}, more: Record<string, string | undefined> = {}) {
  const gitlab = await startFakeGitlab(server);
  onTestFinished(() => gitlab.close());
  const connect = (options: Record<string, string | undefined> = {}): Full => {
    const backend = driver.create({
      name: 'gitlab',
      options: {
        base: gitlab.url,
        project: GITLAB_PROJECT,
        token: GITLAB_TOKENS['private-token'],
        tokenType: undefined,
        folder: 'build',
        ...more,
        ...options,
      } as never,
      env: {},
    });
    onTestFinished(() => backend.close?.());
    return backend as Full;
  };
  return { gitlab, connect, backend: connect() };
}

function imageOf(bytes: Buffer) {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  return { path, size: bytes.length };
}

const read = async (backend: Backend, image: Awaited<ReturnType<Full['push']>>) =>
  buffer(await backend.read(image, 0, image.size));

test.each([
  'a',
  'a/b',
  'a_b',
  'a__b',
  'a_/_b',
  '_',
  'a..b',
  '.a',
  'a.b',
  'ü_',
  'a_.2f',
  '@%+~',
  'a./.b',
  'x_2f',
])('The name %j is a package of its own, which GitLab allows.', (name) => {
  expect(encode(name)).toMatch(/^(?!.*\.\.)[A-Za-z0-9._-]+$/);
  expect(decode(encode(name))).toBe(name);
});

test.each(['a_.2F', '_.61', '..', '_.ff'])('The package %j is no image.', (name) => {
  expect(decode(name)).toBeUndefined();
});

test('Reads go to the object storage in ranges, without the token, and go on where a link has ended.', async () => {
  const { gitlab, backend } = await start({ storage: true });
  const bytes = randomBytes(100_000);
  const image = await backend.push(imageOf(bytes), NAME);
  expect(image.digest).toMatch(/^sha256:/);
  expect(await buffer(await backend.read(image, 1000, 50))).toEqual(bytes.subarray(1000, 1050));
  gitlab.endLinks();
  expect(await buffer(await backend.read(image, 99_990, 10))).toEqual(bytes.subarray(99_990));
  expect(gitlab.stored?.requests.every(({ headers }) => headers.range !== undefined)).toBe(true);
});

/** Puts a file beside that of {@link NAME}, as another program does. */
const putBeside = (url: string, bytes: Buffer) =>
  fetch(
    `${url}/api/v4/projects/${encodeURIComponent(GITLAB_PROJECT)}/packages/generic/lab__hello/1.0/hello.sif`,
    {
      method: 'PUT',
      body: new Uint8Array(bytes),
      headers: { 'PRIVATE-TOKEN': GITLAB_TOKENS['private-token'] },
    },
  );

test('A link that has ended does not lead to the file that has replaced it.', async () => {
  const { gitlab, backend } = await start({ storage: true });
  const bytes = randomBytes(1000);
  const image = await backend.push(imageOf(bytes), NAME);
  expect(await buffer(await backend.read(image, 0, 10))).toEqual(bytes.subarray(0, 10));
  await putBeside(gitlab.url, randomBytes(1000));
  expect(await buffer(await backend.read(image, 10, 10))).toEqual(bytes.subarray(10, 20));
  gitlab.endLinks();
  await expect(backend.read(image, 20, 10)).rejects.toMatchObject({ code: 'STALE' });
  await expect(backend.read(image, 20, 10)).rejects.toMatchObject({ code: 'STALE' });
});

test('Two reads at once of a file that was replaced are both refused.', async () => {
  let looks: (() => void)[] | undefined;
  const { gitlab, backend } = await start({
    storage: true,
    // The first read waits in its look at the package, and the second one begins.
    before: ({ url = '' }) =>
      looks && /package_name/.test(url) ? new Promise<void>((go) => looks?.push(go)) : undefined,
  });
  const image = await backend.push(imageOf(randomBytes(1000)), NAME);
  await putBeside(gitlab.url, randomBytes(1000));
  looks = [];
  const refused = () => expect(backend.read(image, 0, 10)).rejects.toMatchObject({ code: 'STALE' });
  const first = refused();
  await expect.poll(() => looks?.length).toBe(1);
  const second = refused();
  await expect.poll(() => looks?.length).toBe(2);
  for (const go of looks) go();
  looks = undefined;
  await Promise.all([first, second]);
});

test('A project that was renamed is read, and its files are told apart.', async () => {
  const { gitlab, connect, backend } = await start({ formerly: 'old/name' });
  const bytes = randomBytes(1000);
  await backend.push(imageOf(bytes), NAME);
  const renamed = connect({ project: 'old/name' });
  const image = await renamed.resolve(NAME);
  if (image === undefined) throw new Error('absent');
  expect(await read(renamed, image)).toEqual(bytes);
  await putBeside(gitlab.url, randomBytes(1000));
  await expect(renamed.read(image, 0, 10)).rejects.toMatchObject({ code: 'STALE' });
});

test('What GitLab stored otherwise than sent does not replace the image.', async () => {
  let cut = 0;
  const { gitlab, backend } = await start({ stores: (all) => all.subarray(cut) });
  const bytes = randomBytes(1000);
  await backend.push(imageOf(bytes), NAME);
  const before = gitlab.files();
  cut = 1;
  await expect(backend.push(imageOf(randomBytes(1000)), NAME)).rejects.toMatchObject({ code: 'CORRUPT' });
  cut = 0;
  const image = await backend.resolve(NAME);
  expect(image && (await read(backend, image))).toEqual(bytes);
  expect(gitlab.files()).toEqual(before);
});

test('A removal spares what another push puts into the package meanwhile.', async () => {
  const young = randomBytes(10);
  let last: (() => Promise<unknown>) | undefined;
  const { gitlab, backend } = await start({
    before: async ({ method, url = '' }) => {
      const put = last;
      if (method !== 'DELETE' || !/package_files/.test(url) || gitlab.files().length !== 1) return;
      last = undefined;
      await put?.();
    },
  });
  const image = await backend.push(imageOf(randomBytes(10)), NAME);
  last = () => putBeside(gitlab.url, young);
  await backend.remove(image);
  expect(last).toBeUndefined();
  const now = await backend.resolve(NAME);
  expect(now && (await read(backend, now))).toEqual(young);
});

test('Of files of one name the newest is the image, and a removal leaves none of them.', async () => {
  const { gitlab, backend } = await start();
  const put = (bytes: Buffer) => putBeside(gitlab.url, bytes);
  const [old, young] = [randomBytes(10), randomBytes(10)];
  await put(old);
  const before = await backend.resolve(NAME);
  await put(young);
  const image = await backend.resolve(NAME);
  expect(image && (await read(backend, image))).toEqual(young);
  await expect(read(backend, before as never)).rejects.toMatchObject({ code: 'STALE' });
  await expect(backend.remove(before as never)).rejects.toMatchObject({ code: 'STALE' });
  await backend.remove(image as never);
  expect([gitlab.files(), gitlab.packages()]).toEqual([[], []]);
});

test('A push leaves one file of each name.', async () => {
  const { gitlab, backend } = await start();
  await backend.push(imageOf(randomBytes(10)), NAME, { annotations: { a: 'b' } });
  await backend.push(imageOf(randomBytes(10)), NAME, { annotations: { a: 'c' } });
  expect(gitlab.files().sort()).toEqual(['lab__hello/1.0/hello.sif', 'lab__hello/1.0/hello.sif.json']);
});

test('Without an own project, the collection of a name is the project.', async () => {
  const { gitlab, backend } = await start({}, { project: undefined });
  await backend.check();
  const name = { collection: GITLAB_PROJECT, image: 'my_image', tag: '2' };
  const image = await backend.push(imageOf(randomBytes(10)), name);
  expect(gitlab.packages()).toEqual(['my_image/2']);
  expect(await Array.fromAsync(backend.list(GITLAB_PROJECT))).toMatchObject([{ kind: 'image', name }]);
  expect(await backend.resolve({ ...name, collection: 'another/project' })).toBeUndefined();
  for (const query of [GITLAB_PROJECT, `${GITLAB_PROJECT}/my_`])
    expect(await Array.fromAsync(backend.search({ query }))).toMatchObject([{ name }]);
  expect(await Array.fromAsync(backend.search({ query: `${GITLAB_PROJECT}/other` }))).toEqual([]);
  await expect(Array.fromAsync(backend.list(''))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await backend.remove(image);
});

test.each(Object.entries(GITLAB_TOKENS))(
  'A token of the kind %s is sent as such.',
  async (_header, token) => {
    const { connect } = await start();
    await connect({ token }).check();
    await expect(connect({ token: `${token}-wrong` }).check()).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
  },
);

test('The kind of a token without a known beginning is an option.', async () => {
  const { connect } = await start();
  const token = GITLAB_TOKENS['private-token'];
  await connect({ token, tokenType: 'private' }).check();
  await expect(connect({ token, tokenType: 'deploy' }).check()).rejects.toMatchObject({
    code: 'UNAUTHORIZED',
  });
});

test('An artifact of a job is found and read as the Python client names it.', async () => {
  const { gitlab, backend } = await start();
  const bytes = randomBytes(5000);
  gitlab.artifact('12345/build/Singularity.simg', bytes);
  gitlab.artifact('12345/build/Singularity.2.0.simg', bytes.subarray(100));
  const collection = '12345,group/sub';
  const image = await backend.resolve({ collection, image: 'project', tag: 'latest' });
  expect(image).toMatchObject({ size: 5000, extension: 'simg', sequential: true });
  expect(await read(backend, image as never)).toEqual(bytes);
  const other = await backend.resolve({ collection, image: 'project,build', tag: '2.0' });
  expect(other).toMatchObject({ size: 4900 });
  expect(await backend.resolve({ collection, image: 'project', tag: '3' })).toBeUndefined();
});

test("curl, as GitLab's documentation writes it, reads what was pushed, and what it uploads is listed.", async () => {
  const { gitlab, backend } = await start({ storage: true });
  const api = `${gitlab.url}/api/v4/projects/${encodeURIComponent(GITLAB_PROJECT)}/packages/generic`;
  const token = ['--header', `PRIVATE-TOKEN: ${GITLAB_TOKENS['private-token']}`];
  const run = (...args: string[]) =>
    promisify(execFile)('curl', ['--silent', '--fail', '--max-time', '20', ...args]);
  const bytes = randomBytes(1000);
  await backend.push(imageOf(bytes), NAME);
  const file = join(temporaryFolder(), 'curl.sif');
  // With --location, curl would send its own header on to the storage, which refuses it.
  const { stdout: location } = await run(
    '-o',
    '/dev/null',
    '-w',
    '%{redirect_url}',
    ...token,
    `${api}/lab__hello/1.0/hello.sif`,
  );
  await run('-o', file, location);
  expect(readFileSync(file)).toEqual(bytes);
  await run(...token, '--upload-file', file, `${api}/lab__other_one/2/other_one.sif`);
  const listed = await Array.fromAsync(backend.list('lab'));
  expect(listed).toMatchObject([{ name: { image: 'hello' } }, { name: { image: 'other_one', tag: '2' } }]);
});

test('What GitLab tells of a file may be anything.', async () => {
  let told: object | undefined;
  const { backend } = await start({
    before: ({ url = '' }, response) => {
      if (told === undefined || !/package_files/.test(url)) return undefined;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify([null, 7, told]));
      return true;
    },
  });
  await backend.push(imageOf(randomBytes(10)), NAME);
  const file = { id: 1000, file_name: 'hello.sif', size: 10, created_at: 'never' };
  told = file;
  expect((await backend.resolve(NAME))?.modified).toBeUndefined();
  for (const size of [-1, 1e300, 1.5, '10', null]) {
    told = { ...file, size };
    expect(await backend.resolve(NAME)).toBeUndefined();
  }
});
