import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KeyRing, listSignatures, readKeyRing, verifySignatures } from '../../src/image/signatures.ts';
import { bytesSource } from '../../src/image/source.ts';
import { fixture, latin1, patched, sifImage } from './fixtures.ts';

const FINGERPRINT = 'B30D7E2239EAF6CCEB44DD9C68C7E7AA16BC2552';
const signed = fixture('small-signed.sif');

let keys: KeyRing;
let otherKeys: KeyRing;

beforeAll(async () => {
  keys = await readKeyRing(fixture('signer.asc'));
  const { generateKey } = await import('openpgp');
  const { publicKey } = await generateKey({ userIDs: { name: 'somebody else' }, format: 'armored' });
  otherKeys = await readKeyRing(Buffer.from(publicKey));
});

const verify = (bytes: Uint8Array, ring: KeyRing = keys) => verifySignatures(bytesSource(bytes), ring);

/** The signed image with one byte changed. */
function altered(at: number): Uint8Array {
  const bytes = new Uint8Array(signed);
  bytes[at] = (bytes[at] as number) ^ 1;
  return bytes;
}

describe('an image that apptainer sign signed', () => {
  it('lists who signed what without any key', async () => {
    expect(await listSignatures(bytesSource(signed))).toEqual([
      {
        id: 4,
        signs: { to: 'group', id: 1 },
        fingerprint: FINGERPRINT,
        created: new Date('2026-11-22T13:17:09Z'),
      },
    ]);
  });

  it('verifies with the key, as apptainer verify did', async () => {
    const verification = await verify(signed);
    expect(verification).toMatchObject({ verified: true });
    expect(verification.signatures).toMatchObject([
      { state: 'valid', signer: ['lab (lab) <lab@example.org>'], fingerprint: FINGERPRINT },
    ]);
    const recorded = Buffer.from(fixture('small-signed.verify.txt')).toString();
    expect(recorded).toContain(FINGERPRINT);
  });

  it('does not verify with another key', async () => {
    const verification = await verify(signed, otherKeys);
    expect(verification).toMatchObject({
      verified: false,
      reason: expect.stringContaining('not in the key ring'),
    });
    expect(verification.signatures[0]).toMatchObject({ state: 'unknown-key', signer: [] });
  });

  it.each([
    ['the launch script', 5, 'header'],
    ['the id', 50, 'header'],
    ['the definition file', 32_200, 'data of object 1'],
    ['the last byte of the root file system', 2_441_215, 'data of object 3'],
    ['the type of the root partition', 4096 + 2 * 585 + 205, 'descriptor of object 3'],
    ['the name of an object', 4096 + 585 + 73, 'descriptor of object 2'],
    ['the signed text', 2_441_216 + 80, 'does not verify'],
  ])('does not verify once %s was altered', async (_what, at, reason) => {
    const verification = await verify(altered(at));
    expect(verification).toMatchObject({ verified: false, reason: expect.stringContaining(reason) });
    expect(verification.signatures[0]?.state).toBe('invalid');
  });

  it('still verifies when only what is not protected changed', async () => {
    expect(await verify(altered(72))).toMatchObject({ verified: true });
  });

  it('does not verify once an object was added to the group, or beside it', async () => {
    const added = (group: number) => {
      const fourth = 4096 + 3 * 585;
      const bytes = new Uint8Array(signed);
      bytes.copyWithin(fourth + 585, 4096, 4096 + 585);
      return patched(bytes, { [fourth + 585 + 5]: 5, [fourth + 585 + 9]: 0xf0000000 | group });
    };
    expect(await verify(added(1))).toMatchObject({
      verified: false,
      reason: 'Object 5 was added after signing',
    });
    expect(await verify(added(2))).toMatchObject({ verified: false, reason: 'Group 2 is not signed' });
    expect(await verify(added(0))).toMatchObject({
      verified: false,
      reason: expect.stringContaining('no group'),
    });
  });

  it('does not verify once a signed object was removed', async () => {
    const bytes = new Uint8Array(signed);
    bytes.fill(0, 4096 + 585, 4096 + 2 * 585);
    expect(await verify(bytes)).toMatchObject({
      verified: false,
      reason: expect.stringContaining('Object 2'),
    });
  });
});

describe('what is not signed', () => {
  it.each([
    ['an unsigned SIF', fixture('small-gzip.sif'), 'not signed'],
    ['an image of another kind', fixture('old-gzip.simg'), 'Only SIF'],
    [
      'a SIF with something else as signature',
      sifImage([
        { type: 0x4007, data: latin1('x') },
        { type: 0x4005, data: latin1('{"payloadType":"x"}'), link: 0xf0000001, group: 0 },
      ]),
      'not a PGP signature',
    ],
  ])('%s does not verify', async (_what, bytes, reason) => {
    expect(await verify(bytes)).toMatchObject({ verified: false, reason: expect.stringContaining(reason) });
  });
});

describe('signatures over other texts', () => {
  const sha = (data: Uint8Array, algorithm = 'sha256') =>
    `${algorithm}:${createHash(algorithm).update(data).digest('hex')}`;

  /** A SIF with one object and a valid PGP signature over `text`. */
  async function signedOver(text: string, link = 0xf0000001) {
    const openpgp = await import('openpgp');
    const { privateKey, publicKey } = await openpgp.generateKey({ userIDs: { name: 'a' }, format: 'object' });
    const message = await openpgp.createCleartextMessage({ text });
    const signature = await openpgp.sign({ message, signingKeys: privateKey });
    const extra = Buffer.concat([Buffer.from([1, 0, 0, 0]), Buffer.from(publicKey.getFingerprint(), 'hex')]);
    const image = sifImage([
      { type: 0x4007, data: latin1('x') },
      { type: 0x4005, data: Buffer.from(signature), link, group: 0, extra: extra.subarray(0, 24) },
    ]);
    return verify(image, [publicKey]);
  }

  it.each([
    ['the old kind', `SIFHASH:\n${'0'.repeat(64)}\n`, 'of the old kind'],
    ['no JSON', 'hello', 'unknown kind'],
    ['another version', '{"version":2,"header":{"digest":"x"},"objects":[]}', 'unknown kind'],
    ['no digests', '{"version":1}', 'unknown kind'],
    ['objects that are none', '{"version":1,"header":{"digest":"x"},"objects":[null]}', 'unknown kind'],
    [
      'SHA-1',
      `{"version":1,"header":{"digest":"${sha(latin1('x'), 'sha1')}"},"objects":[]}`,
      'header was altered',
    ],
  ])('%s prove nothing', async (_what, text, reason) => {
    expect(await signedOver(text)).toMatchObject({
      verified: false,
      reason: expect.stringContaining(reason),
    });
  });
});

describe('a key ring', () => {
  it('may hold several armored keys one after the other, or be binary', async () => {
    const armored = Buffer.from(fixture('signer.asc'));
    expect(await readKeyRing(Buffer.concat([armored, armored]))).toHaveLength(2);
    const binary = Buffer.concat(keys.map((key) => key.toPacketList().write()));
    expect((await readKeyRing(binary))[0]?.getFingerprint().toUpperCase()).toBe(FINGERPRINT);
  });

  it.each([
    '',
    'no keys here',
    '-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\n-----END PGP PUBLIC KEY BLOCK-----',
  ])('without keys (%j) is an error with a hint', async (text) => {
    await expect(readKeyRing(latin1(text))).rejects.toMatchObject({
      code: 'SETTINGS',
      hint: expect.any(String),
    });
  });
});
