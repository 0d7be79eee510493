/** Promises of the WebDAV driver alone: what other clients see, and what a server may get wrong. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import driver from '../../src/backends/webdav/index.ts';
import { parseMembers } from '../../src/backends/webdav/multistatus.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { startWebdav, type TestWebdav, WEBDAV_LOGIN } from '../servers/webdav.ts';

const NAME = { collection: 'lab/deep', image: 'hello', tag: '1.0' };
const FOLDER = new URL('https://example.org/dav/lab/');

function multistatus(...hrefs: string[]): string {
  const responses = hrefs.map(
    (href) =>
      `<d:response><d:href>${href}</d:href><d:propstat><d:prop><d:getcontentlength>7</d:getcontentlength>` +
      '</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>',
  );
  return `<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">${responses.join('')}</d:multistatus>`;
}

test.each([
  ['its path', '/dav/lab/a.sif'],
  ['its address', 'https://example.org/dav/lab/a.sif'],
  ['its address as a server behind a proxy takes it', 'http://example.org/dav/lab/a.sif'],
  ['a path with other encoding', '/dav/%6cab/a%2Esif'],
])('a member is known by %s', (_what, href) => {
  expect(parseMembers(multistatus('/dav/lab/', href), FOLDER)).toMatchObject([{ name: 'a.sif', size: 7 }]);
});

test.each([
  'https://elsewhere.example/dav/lab/a.sif',
  '/dav/lab/../a.sif',
  '/dav/lab/%2e%2e/a.sif',
  '/dav/lab/b/a.sif',
  '/dav/lab/b%2Fa.sif',
  '/dav/other/a.sif',
  '/dav/lab/%ff.sif',
  'http://[',
  '',
])('%j is no member', (href) => {
  expect(parseMembers(multistatus(href), FOLDER)).toEqual([]);
});

test.each([
  ['a web page', '<html><body>hello</body></html>'],
  ['half an answer', multistatus('/dav/lab/a.sif').slice(0, -20)],
  ['an answer with a document type', `<!DOCTYPE x>${multistatus('/dav/lab/a.sif')}`],
  ['an answer of 9 MiB', multistatus(`/dav/lab/${'a'.repeat(9 * 1024 * 1024)}`)],
])('%s is the error SERVICE', (_what, text) => {
  expect(() => parseMembers(text, FOLDER)).toThrow(expect.objectContaining({ code: 'SERVICE' }));
});

needs({ webdav: true })('the driver webdav with nginx', () => {
  let server: TestWebdav;
  let backend: Backend;

  beforeAll(async () => {
    server = await startWebdav();
    const options = { base: server.url, ...WEBDAV_LOGIN, token: undefined };
    backend = driver.create({ name: 'webdav', options, env: {} });
  });
  afterAll(async () => {
    await backend.close?.();
    await server.stop();
  });

  const push = async (bytes: Buffer, name = NAME, options = {}) => {
    const path = join(temporaryFolder(), 'image.sif');
    writeFileSync(path, bytes);
    return backend.push?.({ path, size: bytes.length }, name, options);
  };

  test('a push leaves the image and its sidecar, and nothing else', async () => {
    const bytes = randomBytes(1000);
    await push(bytes);
    const lab = join(server.folder, 'lab/deep');
    expect(readdirSync(lab).sort()).toEqual(['hello:1.0.sif', 'hello:1.0.sif.json']);
    expect(readFileSync(join(lab, 'hello:1.0.sif'))).toEqual(bytes);
  });

  test('a push that must not replace anything fails where something is, and leaves nothing', async () => {
    const name = { ...NAME, collection: 'taken' };
    mkdirSync(join(server.folder, 'taken'));
    await push(randomBytes(10), name);
    await expect(push(randomBytes(20), name, { ifAbsent: true })).rejects.toMatchObject({ code: 'EXISTS' });
    expect(readdirSync(join(server.folder, 'taken')).length).toBe(2);
  });

  needs({ rclone: true })('and rclone', () => {
    const rclone = async (...args: string[]) => {
      const { stdout: pass } = await promisify(execFile)('rclone', ['obscure', WEBDAV_LOGIN.password]);
      const env = {
        ...process.env,
        RCLONE_CONFIG: '/dev/null',
        RCLONE_CONFIG_LAB_TYPE: 'webdav',
        RCLONE_CONFIG_LAB_URL: server.url,
        RCLONE_CONFIG_LAB_VENDOR: 'other',
        RCLONE_CONFIG_LAB_USER: WEBDAV_LOGIN.username,
        RCLONE_CONFIG_LAB_PASS: pass.trim(),
      };
      const { stdout } = await promisify(execFile)('rclone', args, { env, encoding: 'buffer' });
      return stdout;
    };

    test('rclone lists and reads what was pushed', async () => {
      const bytes = randomBytes(70_000);
      await push(bytes, { ...NAME, collection: 'pushed' });
      expect((await rclone('lsf', 'lab:pushed')).toString()).toContain('hello:1.0.sif\n');
      expect(await rclone('cat', 'lab:pushed/hello:1.0.sif')).toEqual(bytes);
    });

    test('what rclone wrote is listed and read', async () => {
      const bytes = randomBytes(70_000);
      const path = join(temporaryFolder(), 'theirs.sif');
      writeFileSync(path, bytes);
      await rclone('copyto', path, 'lab:written/a/theirs:2.0.sif');
      const image = await backend.resolve({ collection: 'written/a', image: 'theirs', tag: '2.0' });
      if (image === undefined) throw new Error('it is absent');
      expect(await buffer(await backend.read(image, 0, image.size))).toEqual(bytes);
      const listed = await Array.fromAsync(backend.list('written/a'));
      expect(listed.map(({ name }) => name)).toEqual([image.name]);
    });
  });
});
