import { describe, expect, test } from 'vitest';
import {
  carryMetadata,
  readMetadata as read,
  readSidecar,
  writeSidecar,
} from '../../../src/backends/kit/metadata.ts';
import { checksumOf, fromHeaders, METADATA, toHeaders } from '../../../src/backends/s3/metadata.ts';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
const MEGABYTE = 1024 * 1024;

/** The headers that an image is stored with, and its sidecar where it needs one. */
function storeMetadata(size: number, digest: string, annotations: Record<string, string> = {}) {
  const name = { collection: 'lab', image: 'x', tag: '1' };
  const facts = { name, key: 'lab/x:1.sif', size, sha256: digest.slice(7) };
  const { metadata, sidecar } = carryMetadata(METADATA, facts, annotations);
  const side = sidecar ? String(writeSidecar({ digest, annotations })) : undefined;
  return { headers: toHeaders(metadata), side };
}

function readMetadata(headers: Record<string, string>) {
  const {
    digest = checksumOf(headers),
    annotations,
    sidecar: hasSide,
  } = read(METADATA, fromHeaders(headers));
  return { digest, annotations, hasSide };
}

const readSide = (text: string, digest: string | undefined) =>
  readSidecar(Buffer.from(text), { digest, revision: 'abc' }).annotations;

describe('metadata of an image', () => {
  test('are those of the Python client, and the digest', () => {
    const { headers, side } = storeMetadata(5 * MEGABYTE + 1, DIGEST);
    expect(headers).toEqual({
      'x-amz-meta-sizemb': '5',
      'x-amz-meta-client': 'sregistry',
      'x-amz-meta-type': 'container',
      'x-amz-meta-sha256': DIGEST.slice(7),
    });
    expect(side).toBeUndefined();
    expect(readMetadata(headers)).toEqual({ digest: DIGEST, annotations: {}, hasSide: false });
  });

  test('come back as they were, whatever is in them, from headers of plain ASCII', () => {
    const annotations = {
      'a "b"\\': 'Zoë 漢字 🤖',
      __proto__x: '\n\t\u0000',
      Case: 'x',
      case: 'y',
      empty: '',
    };
    const { headers } = storeMetadata(1, DIGEST, annotations);
    for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
    expect(readMetadata(headers).annotations).toEqual(annotations);
  });

  test('never take more than the 2 KiB that S3 has for them', () => {
    const annotations = Object.fromEntries(
      Array.from({ length: 400 }, (_, n) => [`label-${n}`, `värde ${n}`]),
    );
    const { headers } = storeMetadata(Number.MAX_SAFE_INTEGER, DIGEST, annotations);
    const bytes = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    expect(bytes).toBeGreaterThan(1500);
    expect(bytes).toBeLessThanOrEqual(2048);
  });

  test('that do not fit go into a sidecar, those that do stay', () => {
    const annotations = { first: 'short', long: 'x'.repeat(5000), last: 'short as well' };
    const { headers, side } = storeMetadata(1, DIGEST, annotations);
    expect(readMetadata(headers)).toEqual({
      digest: DIGEST,
      annotations: { first: 'short', last: 'short as well' },
      hasSide: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(readSide(side as string, DIGEST)).toEqual(annotations);
  });

  test('in the sidecar of another image are not those of this one', () => {
    const { side } = storeMetadata(1, DIGEST, { long: 'x'.repeat(5000) });
    expect(readSide(side as string, `sha256:${'f'.repeat(64)}`)).toEqual({});
    expect(readSide(side as string, undefined)).toEqual({});
  });

  test.each(['', '[]', 'null', '"x"', '{"sha256": 1}', '<html>'])('in a sidecar like %j are none', (text) => {
    expect(readSide(text, DIGEST)).toEqual({});
  });

  test('that others wrote count as annotations', () => {
    const headers = { 'x-amz-meta-sizemb': '5', 'x-amz-meta-owner': 'lab', 'content-type': 'x', etag: '"1"' };
    expect(readMetadata(headers)).toEqual({
      digest: undefined,
      annotations: { owner: 'lab' },
      hasSide: false,
    });
  });

  test('that are damaged are not there', () => {
    const headers = { 'x-amz-meta-sha256': 'nonsense', 'x-amz-meta-annotations': '{"a": 1, "b": "c"' };
    expect(readMetadata(headers)).toEqual({ digest: undefined, annotations: {}, hasSide: false });
  });

  test("give Amazon's own checksum as the digest, unless it is one of parts", () => {
    const checksum = Buffer.from(DIGEST.slice(7), 'hex').toString('base64');
    expect(readMetadata({ 'x-amz-checksum-sha256': checksum }).digest).toBe(DIGEST);
    expect(readMetadata({ 'x-amz-checksum-sha256': `${checksum}-3` }).digest).toBeUndefined();
    const composite = { 'x-amz-checksum-sha256': checksum, 'x-amz-checksum-type': 'COMPOSITE' };
    expect(readMetadata(composite).digest).toBeUndefined();
  });
});
