/** Checksums of request bodies: S3 compares them with the body before it stores it, and returns one of them. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Headers } from '../http.ts';
import type { Part } from '../kit/parallel-upload.ts';

export interface Digests {
  readonly md5: Buffer;
  readonly sha256: Buffer;
}

/** Bytes read from disk at once. */
const READ = 256 * 1024;

export function digestsOf(bytes: Uint8Array): Digests {
  return {
    md5: createHash('md5').update(bytes).digest(),
    sha256: createHash('sha256').update(bytes).digest(),
  };
}

export async function digestsOfRange(
  { path, start, end }: Omit<Part, 'number'>,
  signal?: AbortSignal,
): Promise<Digests> {
  const [md5, sha256] = [createHash('md5'), createHash('sha256')];
  const stream = createReadStream(path, {
    start,
    end: Math.max(start, end - 1),
    highWaterMark: READ,
    ...(signal && { signal }),
  });
  for await (const chunk of stream) {
    md5.update(chunk);
    sha256.update(chunk);
  }
  return { md5: md5.digest(), sha256: sha256.digest() };
}

/** The headers by which a service checks a body. The signature covers the second, so every service checks signed bodies. */
export function digestHeaders({ md5, sha256 }: Digests): Headers {
  return { 'content-md5': md5.toString('base64'), 'x-amz-content-sha256': sha256.toString('hex') };
}

const MD5_TAG = /^"?[0-9a-f]{32}"?$/i;

/** Whether the entity tag in a reply is the MD5 of the bytes. It is not if they are encrypted with keys of KMS or the caller. */
export function isMd5Tag(headers: Headers): boolean {
  const encryption = headers['x-amz-server-side-encryption'] ?? '';
  const hasOwnKey = headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  return MD5_TAG.test(headers.etag ?? '') && !encryption.startsWith('aws:kms') && !hasOwnKey;
}

/**
 * The entity tag of an object made of parts with these tags; undefined unless all are MD5s. Undocumented, but every service
 * computes it so: the MD5 of the parts' MD5s, then the number of parts.
 */
export function compositeTag(tags: readonly string[]): string | undefined {
  if (!tags.every((tag) => MD5_TAG.test(tag))) return undefined;
  const sums = Buffer.from(tags.map((tag) => tag.replaceAll('"', '')).join(''), 'hex');
  return `${createHash('md5').update(sums).digest('hex')}-${tags.length}`;
}
