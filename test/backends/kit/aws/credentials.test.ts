import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { credentialSource } from '../../../../src/backends/kit/aws/credentials.ts';
import driver from '../../../../src/backends/s3/index.ts';
import { redact } from '../../../../src/log/index.ts';
import { temporaryFolder } from '../../../helpers/temporary.ts';
import { startFaultServer } from '../../../servers/http-faults.ts';
import { s3Options } from '../../../servers/s3.ts';

let folder: string;

/** A machine on which nobody has configured anything. */
beforeEach(() => {
  folder = temporaryFolder();
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_CONFIG_FILE', join(folder, 'config'));
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(folder, 'credentials'));
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const source = (options: Record<string, string> = {}, isAmazon = false) =>
  credentialSource({ driver: 's3', instance: 's3' }, s3Options(options), isAmazon);

const profile = (name: string, lines: string) =>
  writeFileSync(join(folder, 'credentials'), `[${name}]\n${lines}\n`, { flag: 'a' });

/** A program that hands out a new key each time it is asked, good for an hour, and notes that it was. */
function program(): { path: string; asked(): number } {
  const [path, log] = [join(folder, 'program'), join(folder, 'asked')];
  const key =
    '{"Version": 1, "AccessKeyId": "AKID%s", "SecretAccessKey": "s3cr3t-%s", "SessionToken": "t0ken%s", "Expiration": "%s"}';
  writeFileSync(log, '');
  writeFileSync(
    path,
    `#!/bin/sh\necho >> ${log}\nn=$(wc -l < ${log} | tr -d ' ')\nprintf '${key}' $n $n $n "$(date -u -d '+1 hour' +%FT%TZ)"\n`,
  );
  chmodSync(path, 0o755);
  return { path, asked: () => readFileSync(log, 'utf8').length };
}

describe('credentials', () => {
  test('of the settings come first', async () => {
    profile('default', 'aws_access_key_id = other\naws_secret_access_key = other');
    const options = { accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' };
    expect(await source(options)()).toEqual(options);
  });

  test.each([{ accessKeyId: 'a' }, { secretAccessKey: 'b' }])(
    'that are half given are the error SETTINGS: %j',
    (options) => {
      expect(() => source(options)).toThrow(expect.objectContaining({ code: 'SETTINGS' }));
    },
  );

  test.each([true, false])('are nobody’s where there are none (Amazon: %s)', async (isAmazon) => {
    expect(await source({}, isAmazon)()).toBeUndefined();
  });

  test('are nobody’s where that is wanted', async () => {
    profile('default', 'aws_access_key_id = a\naws_secret_access_key = b');
    const seen: (string | undefined)[] = [];
    await using server = await startFaultServer(({ headers }, response) => {
      seen.push(headers.authorization);
      response.end('<ListBucketResult></ListBucketResult>');
    });
    for (const signature of ['none', 's3v4']) {
      const options = s3Options({ base: server.url, bucket: 'images', signature });
      const s3 = driver.create({ name: 's3', options, env: {} });
      await Array.fromAsync(s3.list(''));
      await s3.close?.();
    }
    const half = seen.length / 2;
    expect(seen.slice(0, half).every((one) => one === undefined)).toBe(true);
    expect(seen.slice(half).every((one) => one?.includes('Credential=a/'))).toBe(true);
    expect(half).toBeGreaterThan(0);
  });

  test('come from the profile, and never appear in what is printed', async () => {
    profile('default', 'aws_access_key_id = a\naws_secret_access_key = wrong');
    profile('lab', 'aws_access_key_id = AKIDLAB\naws_secret_access_key = lab-s3cr3t');
    expect(await source({ profile: 'lab' })()).toMatchObject({
      accessKeyId: 'AKIDLAB',
      secretAccessKey: 'lab-s3cr3t',
    });
    expect(redact('it is lab-s3cr3t')).toBe('it is ***');
  });

  test('of a profile that is not there are an error, not nobody’s', async () => {
    await expect(source({ profile: 'absent' })()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test("of the environment are used at Amazon, by AWS's own rules", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDENV');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'env-s3cr3t');
    expect(await source({}, true)()).toMatchObject({ accessKeyId: 'AKIDENV' });
    expect(await source({}, false)()).toBeUndefined();
  });

  test('that are temporary are asked for once, and again when they are no longer good', async () => {
    const { path, asked } = program();
    profile('default', `credential_process = ${path}`);
    const ask = source();
    expect(await Promise.all([ask(), ask()])).toMatchObject([
      { accessKeyId: 'AKID1' },
      { sessionToken: 't0ken1' },
    ]);
    expect(await ask()).toMatchObject({ accessKeyId: 'AKID1' });
    expect(asked()).toBe(1);
    expect(await ask({ renew: true })).toMatchObject({ accessKeyId: 'AKID2' });
    expect(await ask()).toMatchObject({ accessKeyId: 'AKID2' });
  });

  test('that the service calls expired are renewed, and the request is sent again, also where it has no words', async () => {
    const { path } = program();
    profile('default', `credential_process = ${path}`);
    const expired =
      '<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>';
    let last = 1;
    await using server = await startFaultServer(({ method, headers }, response) => {
      const isOld = headers.authorization?.includes(`Credential=AKID${last}/`) !== false;
      if (isOld) response.writeHead(400).end(method === 'HEAD' ? undefined : expired);
      else if (method === 'HEAD') response.writeHead(200, { etag: '"x"', 'content-length': 5 }).end();
      else response.end('<ListBucketResult></ListBucketResult>');
    });
    const options = s3Options({ base: server.url, bucket: 'images' });
    const s3 = driver.create({ name: 's3', options, env: {} });
    expect(await s3.resolve({ collection: 'a', image: 'b', tag: '1' })).toMatchObject({ size: 5 });
    last = 2;
    expect(await Array.fromAsync(s3.list(''))).toEqual([]);
    await s3.close?.();
  });
});
