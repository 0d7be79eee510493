/**
 * An S3 service for tests: moto, which knows versions, parts, conditions and ranges, and takes any access key.
 *
 * `SREGISTRY_TEST_S3=http://localhost:7480`, with a key in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, makes the same
 * tests use another service, such as Ceph or MinIO.
 */
import { randomUUID } from 'node:crypto';
import { Bucket } from '../../src/backends/s3/bucket.ts';
import { declaration } from '../../src/backends/s3/declaration.ts';
import { digestHeaders, digestsOf } from '../../src/backends/s3/digests.ts';
import { checkOption } from '../../src/settings/option-value.ts';
import { motoUnavailable, startMoto } from './moto.ts';

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

const ANY_LOGIN = { accessKeyId: 'tester', secretAccessKey: 'tester-secret' };

/** Why there is no S3 service here, or undefined where there is one. */
export function s3Unavailable(): string | undefined {
  return OTHER_S3 ? undefined : motoUnavailable();
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
      await moto?.stop();
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
