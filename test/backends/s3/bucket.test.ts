/** What a service may say to a request, told by a server that says it. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../../src/backends/backend.ts';
import driver from '../../../src/backends/s3/index.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';
import { type FaultServer, startFaultServer } from '../../servers/http-faults.ts';
import { s3Options } from '../../servers/s3.ts';

const NAME = { collection: 'lab', image: 'hello', tag: '1.0' };
const LOGIN = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'the-secret-key' };

async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<FaultServer> {
  const server = await startFaultServer((request, response) => {
    request.resume();
    handler(request, response);
  });
  onTestFinished(() => server.close());
  return server;
}

function backend(options: Record<string, string>, env: NodeJS.ProcessEnv = {}): Backend {
  const created = driver.create({
    name: 's3',
    options: s3Options({ bucket: 'images', ...LOGIN, ...options }),
    env,
  });
  onTestFinished(async () => created.close?.());
  return created;
}

/** Amazon, played by a server: it is the proxy for everything. */
const asAmazon = (server: FaultServer, options: Record<string, string> = {}) =>
  backend({ base: 'http://s3.amazonaws.com', ...options }, { http_proxy: server.url });

function temporaryFile(bytes: Buffer): string {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  return path;
}

function refuse(response: ServerResponse, status: number, code: string, rest = '', headers = {}): void {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>It said so.</Message>${rest}</Error>`;
  response.writeHead(status, { 'content-type': 'application/xml', ...headers }).end(body);
}

/** An object of five bytes. */
const answer = (response: ServerResponse, headers = {}) =>
  response
    .writeHead(200, { etag: '"abc"', 'content-length': 5, ...headers })
    .end(response.req.method === 'HEAD' ? undefined : 'bytes');

const scopeOf = (request?: { headers: IncomingMessage['headers'] }) =>
  /Credential=[^/]+\/\d+\/([^/]+)\//.exec(request?.headers.authorization ?? '')?.[1];

describe('what the service refuses', () => {
  test.each([
    [403, 'AccessDenied', 'FORBIDDEN', undefined],
    [403, 'InvalidAccessKeyId', 'UNAUTHORIZED', /access key/],
    [403, 'SignatureDoesNotMatch', 'UNAUTHORIZED', /secret/],
    [403, 'RequestTimeTooSkewed', 'UNAUTHORIZED', /clock/],
    [404, 'NoSuchBucket', 'SETTINGS', /aws s3 mb s3:\/\/images --endpoint-url http:\/\/127/],
    [403, 'QuotaExceeded', 'NO_SPACE', undefined],
    [501, 'NotImplemented', 'UNSUPPORTED', undefined],
    [400, 'SomethingNew', 'SERVICE', undefined],
  ])('%i %s is the error %s', async (status, said, code, hint) => {
    const server = await serve((_, response) => refuse(response, status, said));
    const listing = Array.fromAsync(backend({ base: server.url }).list('lab'));
    await expect(listing).rejects.toMatchObject({ code, ...(hint && { hint: expect.stringMatching(hint) }) });
    const error = await listing.catch((reason: Error) => reason);
    if (said !== 'NoSuchBucket') expect((error as Error).message).toContain(`It said so. (${said})`);
  });

  test('a bucket that does not exist is no absent image, though HEAD cannot tell', async () => {
    const server = await serve((_, response) => refuse(response, 404, 'NoSuchBucket'));
    await expect(backend({ base: server.url }).resolve(NAME)).rejects.toMatchObject({ code: 'SETTINGS' });
    await expect(backend({ base: server.url }).check?.()).rejects.toMatchObject({ code: 'SETTINGS' });
  });

  test('a 404 of a web server is no absent image', async () => {
    const server = await serve((_, response) => response.writeHead(404).end('<html>Not found</html>'));
    await expect(backend({ base: server.url }).resolve(NAME)).rejects.toMatchObject({ code: 'SERVICE' });
  });

  test('who may not list is told that an absent image is forbidden, and finds those of other extensions', async () => {
    const server = await serve((request, response) =>
      request.url?.endsWith('hello%3A1.0.simg') ? answer(response) : refuse(response, 403, 'AccessDenied'),
    );
    const s3 = backend({ base: server.url });
    expect(await s3.resolve(NAME)).toMatchObject({ extension: 'simg', size: 5 });
    await expect(s3.resolve({ ...NAME, tag: '2.0' })).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test.each([
    ['a document type', '<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;</ListBucketResult>'],
    ['a web page', '<html><body>Please log in</body></html>'],
    ['nothing', ''],
    ['half a document', '<ListBucketResult><Contents><Key>a'],
    ['a dangerous name', '<ListBucketResult><__proto__>1</__proto__></ListBucketResult>'],
  ])('%s in place of a listing is the error SERVICE, or an empty listing', async (_what, body) => {
    const server = await serve((_, response) => response.end(body));
    const listing = Array.fromAsync(backend({ base: server.url }).list(''));
    expect(await listing.catch((error) => error.code)).toSatisfy(
      (outcome) => outcome === 'SERVICE' || (Array.isArray(outcome) && outcome.length === 0),
    );
  });

  test('a listing whose next page is the same one is the error SERVICE', async () => {
    const page =
      '<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken></ListBucketResult>';
    const server = await serve((_, response) => response.end(page));
    const listing = Array.fromAsync(backend({ base: server.url }).list(''));
    await expect(listing).rejects.toMatchObject({ code: 'SERVICE' });
    expect(server.requests.length).toBeLessThan(5);
  });

  test('names that lead elsewhere are dropped from a listing', async () => {
    const keys = [
      'lab/../x:1.sif',
      '/x:1.sif',
      'lab//x:1.sif',
      './x:1.sif',
      '.hidden:1.sif',
      'a\u0001:1.sif',
      'ok:1.sif',
    ];
    const contents = keys.map(
      (key) =>
        `<Contents><Key>${encodeURIComponent(key)}</Key><Size>1</Size><ETag>"a"</ETag><LastModified>2020-01-01T00:00:00Z</LastModified></Contents>`,
    );
    const prefixes = ['../', './', '/', '.git/', 'a%00/', '%ff/', 'good/'].map(
      (prefix) => `<CommonPrefixes><Prefix>${prefix}</Prefix></CommonPrefixes>`,
    );
    const page = `<ListBucketResult><EncodingType>url</EncodingType>${contents.join('')}${prefixes.join('')}</ListBucketResult>`;
    const server = await serve((_, response) => response.end(page));
    const entries = await Array.fromAsync(backend({ base: server.url }).list(''));
    expect(entries.map(({ name }) => (typeof name === 'string' ? name : name.image))).toEqual(['good', 'ok']);
  });
});

describe('the region of a bucket', () => {
  test.each([
    ['a redirect of HEAD', 301, ''],
    ['a malformed signature', 400, 'AuthorizationHeaderMalformed'],
  ])('is taken from %s, and remembered', async (_what, status, code) => {
    const server = await serve((request, response) => {
      if (scopeOf(request) === 'eu-west-1') answer(response);
      else if (code)
        refuse(response, status, code, '<Region>eu-west-1</Region>', { 'x-amz-bucket-region': 'eu-west-1' });
      else response.writeHead(status, { 'x-amz-bucket-region': 'eu-west-1' }).end();
    });
    const s3 = asAmazon(server);
    expect(await s3.resolve(NAME)).toMatchObject({ size: 5 });
    expect(await s3.resolve(NAME)).toMatchObject({ size: 5 });
    expect(server.requests.map(({ url }) => new URL(url).host)).toEqual([
      'images.s3.us-east-1.amazonaws.com',
      'images.s3.eu-west-1.amazonaws.com',
      'images.s3.eu-west-1.amazonaws.com',
    ]);
  });

  test('is asked for, without a signature, where the refusal does not say it', async () => {
    const server = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(403, { 'x-amz-bucket-region': 'ap-south-1' }).end();
      else if (scopeOf(request) === 'ap-south-1') answer(response);
      else response.writeHead(400).end();
    });
    expect(await asAmazon(server).resolve(NAME)).toMatchObject({ size: 5 });
    expect(server.requests).toHaveLength(3);
  });

  test('is used as it is said by a service at an address of its own', async () => {
    const server = await serve((request, response) =>
      scopeOf(request) === 'garage'
        ? answer(response)
        : refuse(response, 400, 'AuthorizationHeaderMalformed', '<Region>garage</Region>'),
    );
    const s3 = backend({ base: server.url });
    await expect(Array.fromAsync(s3.list('lab'))).rejects.toMatchObject({ code: 'SERVICE' });
    expect(scopeOf(server.requests.at(-1))).toBe('garage');
  });

  test('that is nonsense, or the one that was used, is not tried', async () => {
    const server = await serve((_, response) =>
      refuse(response, 400, 'AuthorizationHeaderMalformed', '<Region>evil.example.org/</Region>'),
    );
    await expect(Array.fromAsync(asAmazon(server).list('lab'))).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    });
    expect(
      server.requests.every(({ url }) => new URL(url).host.endsWith('.s3.us-east-1.amazonaws.com')),
    ).toBe(true);
  });
});

describe('requests', () => {
  test('are signed anew for every attempt', async () => {
    let attempts = 0;
    const server = await serve((_, response) => {
      attempts += 1;
      if (attempts < 3) response.writeHead(503).end();
      else answer(response);
    });
    await backend({ base: server.url }).resolve(NAME);
    expect(server.requests).toHaveLength(3);
    for (const { headers } of server.requests) expect(headers.authorization).toMatch(/^AWS4-HMAC-SHA256 /);
  });

  test('are not signed when a redirect leads elsewhere', async () => {
    const elsewhere = await serve((_, response) => answer(response));
    const server = await serve((_, response) =>
      response.writeHead(307, { location: `${elsewhere.url}/x` }).end(),
    );
    await backend({ base: server.url, sessionToken: 'the-token' }).resolve(NAME);
    expect(server.requests[0]?.headers).toHaveProperty('x-amz-security-token');
    const sent = Object.keys(elsewhere.requests[0]?.headers ?? {});
    expect(sent.filter((name) => name === 'authorization' || name.startsWith('x-amz-'))).toEqual([]);
  });

  test('of nobody are not signed', async () => {
    const server = await serve((_, response) => answer(response));
    await backend({ base: server.url, signature: 'none' }).resolve(NAME);
    expect(server.requests[0]?.headers).not.toHaveProperty('authorization');
  });

  test('state the checksums of what they carry, and to Amazon one that it keeps', async () => {
    const bytes = Buffer.from('bytes');
    const [md5, sha256] = ['md5', 'sha256'].map((name) => createHash(name).update(bytes).digest());
    const server = await serve((request, response) => {
      const meta = Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-'));
      if (request.method === 'PUT') Object.assign(stored, Object.fromEntries(meta));
      answer(response, { etag: `"${md5?.toString('hex')}"`, ...stored });
    });
    const stored: Record<string, unknown> = {};
    const path = temporaryFile(bytes);
    await asAmazon(server, { acl: 'public-read' }).push?.({ path, size: bytes.length }, NAME);
    const put = server.requests.find(({ method }) => method === 'PUT');
    expect(put?.headers).toMatchObject({
      'content-md5': md5?.toString('base64'),
      'x-amz-content-sha256': sha256?.toString('hex'),
      'x-amz-checksum-sha256': sha256?.toString('base64'),
      'x-amz-acl': 'public-read',
      'x-amz-meta-sha256': sha256?.toString('hex'),
    });
  });

  test('that find another checksum stored are the error CORRUPT', async () => {
    const server = await serve((_, response) => answer(response, { etag: `"${'0'.repeat(32)}"` }));
    const path = temporaryFile(Buffer.from('bytes'));
    const push = backend({ base: server.url }).push?.({ path, size: 5 }, NAME);
    await expect(push).rejects.toMatchObject({ code: 'CORRUPT' });
  });
});

test('work that fails after its 200 is asked for again, and else is an error', async () => {
  let copies = 0;
  const failures = ['InternalError', 'SlowDown'];
  const server = await serve((request, response) => {
    if (request.method !== 'PUT') return answer(response);
    copies += 1;
    const failure = failures.shift();
    if (failure === undefined) response.end('<CopyObjectResult><ETag>"abc"</ETag></CopyObjectResult>');
    else refuse(response, 200, failure);
  });
  const s3 = backend({ base: server.url });
  const image = { name: NAME, size: 5, revision: 'abc', handle: { key: 'lab/hello:1.0.sif', etag: '"abc"' } };
  await s3.copy?.(image, { ...NAME, tag: '2.0' });
  expect(copies).toBe(3);
  failures.push('AccessDenied');
  await expect(s3.copy?.(image, { ...NAME, tag: '3.0' })).rejects.toThrow(/AccessDenied/);
  expect(copies).toBe(4);
});

test('an archived object is an image that cannot be opened before it is restored', async () => {
  const server = await serve((request, response) => {
    const restore = request.url?.includes('restored') ? { 'x-amz-restore': 'ongoing-request="false"' } : {};
    answer(response, { 'x-amz-storage-class': 'GLACIER', ...restore });
  });
  const s3 = backend({ base: server.url });
  expect((await s3.resolve(NAME))?.unpresentable).toMatch(/archived/);
  expect((await s3.resolve({ ...NAME, image: 'restored' }))?.unpresentable).toBeUndefined();
});

test('a handle that was tampered with is not used', async () => {
  const server = await serve((_, response) => answer(response));
  const s3 = backend({ base: server.url });
  const image = { name: NAME, size: 5, revision: 'x', handle: { key: '../other/secret', etag: '"abc"' } };
  await expect(s3.read(image, 0, 5)).rejects.toMatchObject({ code: 'STALE' });
  expect(server.requests).toHaveLength(0);
});
