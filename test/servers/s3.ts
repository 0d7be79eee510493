/**
 * An S3 service for tests: moto, a well-kept imitation of Amazon's in Python, out of the Debian of `sid` beside this file. It
 * keeps objects in memory, knows versions, parts, conditions and ranges, and takes any access key.
 *
 * `SREGISTRY_TEST_S3=http://localhost:7480`, with a key in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, makes the same
 * tests use another service, such as Ceph or MinIO.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Bucket } from '../../src/backends/s3/bucket.ts';
import { declaration } from '../../src/backends/s3/declaration.ts';
import { digestHeaders, digestsOf } from '../../src/backends/s3/digests.ts';
import { checkOption } from '../../src/settings/option-value.ts';
import { TEST_STATE } from './apptainer.ts';

export interface TestS3 {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly login: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** A new bucket, by its name. */
  createBucket(options?: { versioning?: boolean }): Promise<string>;
  /** Ends the server, and with it what it stores. */
  stop(): Promise<void>;
}

/** The service to use in place of moto, if any. It may check signatures, so requests cannot be changed on their way. */
export const OTHER_S3 = process.env.SREGISTRY_TEST_S3 || undefined;

const SID = join(import.meta.dirname, 'sid');
/** Milliseconds; a start takes about two seconds. */
const START_LIMIT = 60_000;
const ANY_LOGIN = { accessKeyId: 'tester', secretAccessKey: 'tester-secret' };

/** Why there is no S3 service here, or undefined where there is one. */
export function s3Unavailable(): string | undefined {
  if (OTHER_S3) return undefined;
  if (process.getuid?.() !== 0) return 'the S3 service for tests needs root';
  if (existsSync(join(TEST_STATE, 'sid/usr/lib/python3/dist-packages/moto'))) return undefined;
  return 'the S3 service for tests has not been fetched (scripts/setup --test)';
}

/** Starts a service; it answers when this resolves. */
export async function startS3(): Promise<TestS3> {
  const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = process.env;
  const moto = OTHER_S3 ? undefined : await startMoto();
  const url = OTHER_S3 ?? moto?.url ?? '';
  const login = OTHER_S3
    ? { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY }
    : ANY_LOGIN;
  return {
    url,
    login,
    createBucket: async ({ versioning = false } = {}) => {
      const name = `sregistry-${randomUUID().slice(0, 8)}`;
      await make({ bucket: name, base: url, ...login }, versioning);
      return name;
    },
    stop: async () => {
      if (moto !== undefined) await end(moto.child);
    },
  };
}

/** The driver's options, of which only those that matter here are given. */
export const s3Options = (given: Record<string, string | undefined>) => ({
  base: undefined,
  bucket: '',
  region: undefined,
  accessKeyId: undefined,
  secretAccessKey: undefined,
  sessionToken: undefined,
  profile: undefined,
  signature: undefined,
  addressing: undefined,
  acl: undefined,
  ...Object.fromEntries(
    Object.entries(given).map(([name, text]) => [name, text === undefined ? text : checked(name, text)]),
  ),
});

/** A value as the settings let it through. */
const checked = (name: string, text: string) =>
  checkOption('s3', name, declaration.options[name as keyof typeof declaration.options], {
    text,
    place: 'a test',
  });

async function make(given: Record<string, string>, versioning: boolean): Promise<void> {
  const bucket = new Bucket({ name: 's3', options: s3Options(given), env: {} });
  try {
    await bucket.request('PUT', '');
    if (!versioning) return;
    const body = Buffer.from('<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>');
    await bucket.request('PUT', '', {
      query: { versioning: '' },
      body,
      headers: digestHeaders(digestsOf(body)),
    });
  } finally {
    await bucket.close();
  }
}

/** Resolves when it listens, on a port of its own choice. */
async function startMoto(): Promise<{ url: string; child: ChildProcess }> {
  // setpriv: also when the test process is killed, the kernel ends its server.
  const command = [
    '--pdeathsig',
    'KILL',
    SID,
    'run',
    'python3',
    '-m',
    'moto.server',
    '-H',
    '127.0.0.1',
    '-p',
    '0',
  ];
  const child = spawn('setpriv', command, { stdio: ['ignore', 'ignore', 'pipe'] });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (reason: string) => reject(new Error(`moto did not start: ${reason}`));
  const limit = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`it did not listen within ${START_LIMIT} ms`);
  }, START_LIMIT);
  let last = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    last = line;
    const url = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (url !== undefined) resolve(url);
  });
  child.once('error', (error) => fail(error.message));
  child.once('close', (code) => fail(`it ended with ${code}: ${last}`));
  return { url: await promise.finally(() => clearTimeout(limit)), child };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
}
