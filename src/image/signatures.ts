/**
 * Signatures of SIF images: tells who signed what, and verifies it.
 *
 * `apptainer sign` adds an object for each group of objects: a PGP clear-signed message whose text lists digests (see
 * integrity.ts). An image counts as verified when every object belongs to a group, every group has a valid signature by a key
 * of the ring, and no signature by a key of the ring is broken. Signatures by other keys are reported and do not count.
 */
import { SregistryError } from '../base/errors.ts';
import { importOptional } from '../base/optional.ts';
import { openImage } from './image.ts';
import { findAlteration, isSignedDigests } from './integrity.ts';
import { readSifData, type Sif, type SifDescriptor } from './sif.ts';
import type { ByteSource } from './source.ts';

/** Bytes of a signature object; Apptainer's have some 1300. */
const MAX_SIGNATURE = 1024 * 1024;
const NO_SIF = 'Only SIF images can be signed';
const NOT_SIGNED = 'It is not signed';
const ARMOR = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g;

export const OPENPGP = {
  module: 'openpgp',
  version: '^6.3.2',
  purpose: 'to read keys and signatures',
};

export interface Signature {
  /** Of the signature's own SIF object. */
  readonly id: number;
  /** The signed objects: a group, or one object. */
  readonly signs: { readonly to: 'object' | 'group'; readonly id: number } | undefined;
  /** Fingerprint of the claimed key, upper-case hex; empty for a signature that is not PGP. */
  readonly fingerprint: string;
  /** When the object was added, if the image says so. */
  readonly created: Date | undefined;
}

export interface VerifiedSignature extends Signature {
  /** `unknown-key`: not in the ring. `unsupported`: of a kind that cannot be checked here. */
  readonly state: 'valid' | 'invalid' | 'unknown-key' | 'unsupported';
  /** User ids of the key, if it is in the ring. */
  readonly signer: readonly string[];
  /** The state in one sentence. */
  readonly reason: string;
}

export interface Verification {
  readonly verified: boolean;
  readonly signatures: readonly VerifiedSignature[];
  readonly reason: string;
}

/** Public keys as {@link readKeyRing} gives them. */
export type KeyRing = Awaited<ReturnType<typeof readKeyRing>>;

/** The claimed signers of an image. Checks nothing. Empty for a file that is not a SIF. */
export async function listSignatures(source: ByteSource): Promise<Signature[]> {
  const { sif } = await openImage(source);
  return sif === undefined ? [] : signatureObjects(sif).map(toSignature);
}

/**
 * Public keys from a file's bytes, armored or binary: `apptainer key export`, `gpg --export`, or Apptainer's own ring
 * `~/.apptainer/keys/pgp-public`.
 *
 * @throws {SregistryError} SETTINGS if there are no keys.
 */
export async function readKeyRing(bytes: Uint8Array) {
  const { readKeys } = await importOpenPgp();
  try {
    const blocks = Buffer.from(bytes).toString('latin1').match(ARMOR);
    const rings = blocks?.map((armoredKeys) => readKeys({ armoredKeys })) ?? [
      readKeys({ binaryKeys: bytes }),
    ];
    const keys = (await Promise.all(rings)).flat();
    if (keys.length > 0) return keys;
  } catch (cause) {
    throw noKeys(cause);
  }
  throw noKeys();
}

/**
 * Why an image cannot be verified, as far as its headers tell; undefined if only its data can tell.
 * @throws {SregistryError} NOT_AN_IMAGE, CORRUPT; also the errors of the source.
 */
export async function findMissingSignature(source: ByteSource, keys: KeyRing): Promise<string | undefined> {
  const { sif } = await openImage(source);
  if (sif === undefined) return NO_SIF;
  const [first, ...more] = signatureObjects(sif);
  if (first === undefined) return NOT_SIGNED;
  return [first, ...more].some((object) => findKey(object, keys)) ? undefined : unknownKey(first);
}

/**
 * Checks every signature of an image against the keys. Reads all signed data.
 * @throws {SregistryError} NOT_AN_IMAGE, CORRUPT; also the errors of the source. A bad signature is not an error.
 */
export async function verifySignatures(source: ByteSource, keys: KeyRing): Promise<Verification> {
  const { sif } = await openImage(source);
  if (sif === undefined) return { verified: false, signatures: [], reason: NO_SIF };
  const signatures: VerifiedSignature[] = [];
  for (const object of signatureObjects(sif)) {
    const outcome = await verifyObject(source, sif, object, keys);
    signatures.push({ ...toSignature(object), ...outcome });
  }
  const lack = findLack(sif, signatures);
  return {
    verified: lack === undefined,
    signatures,
    reason: lack ?? 'Every object is signed by a known key',
  };
}

type Outcome = Pick<VerifiedSignature, 'state' | 'signer' | 'reason'>;

async function verifyObject(
  source: ByteSource,
  sif: Sif,
  object: SifDescriptor,
  keys: KeyRing,
): Promise<Outcome> {
  const { readCleartextMessage, verify } = await importOpenPgp();
  const cleartextMessage = Buffer.from(await readSifData(source, object, MAX_SIGNATURE)).toString();
  const message = await readCleartextMessage({ cleartextMessage }).catch(() => undefined);
  if (message === undefined) return { state: 'unsupported', signer: [], reason: 'It is not a PGP signature' };
  const key = findKey(object, keys);
  if (key === undefined) return { state: 'unknown-key', signer: [], reason: unknownKey(object) };
  const signer = key.getUserIDs();
  try {
    // No date: keys are checked at the time of the signature, so a slow clock does not make a signature invalid.
    await verify({ message, verificationKeys: key, expectSigned: true, date: null });
  } catch (error) {
    return { state: 'invalid', signer, reason: `It does not verify: ${(error as Error).message}` };
  }
  return { signer, ...(await compare(source, sif, object, message.getText())) };
}

/** Compares the image with the signed text. */
async function compare(source: ByteSource, sif: Sif, { link }: SifDescriptor, text: string) {
  if (text.startsWith('SIFHASH:'))
    return { state: 'unsupported', reason: 'It is of the old kind, which protects the data only' } as const;
  const signed = parseJson(text);
  if (link?.to !== 'group' || !isSignedDigests(signed))
    return { state: 'unsupported', reason: 'It is of an unknown kind' } as const;
  const alteration = await findAlteration(source, sif, link.id, signed);
  if (alteration !== undefined) return { state: 'invalid', reason: alteration } as const;
  return { state: 'valid', reason: `Group ${link.id} is as it was signed` } as const;
}

/** Why these signatures do not verify the image. */
function findLack(sif: Sif, signatures: readonly VerifiedSignature[]): string | undefined {
  const broken = signatures.find(({ state }) => state === 'invalid');
  if (broken !== undefined) return broken.reason;
  if (signatures.length === 0) return NOT_SIGNED;
  for (const { id, group, type } of sif.descriptors) {
    if (type === 'signature') continue;
    if (group === 0) return `Object ${id} is in no group and cannot be signed`;
    const signed = signatures.some(({ state, signs }) => state === 'valid' && signs?.id === group);
    if (!signed)
      return signatures.find(({ state }) => state !== 'valid')?.reason ?? `Group ${group} is not signed`;
  }
  return undefined;
}

/** The claimed key. */
function findKey({ signature }: SifDescriptor, keys: KeyRing): KeyRing[number] | undefined {
  return keys.find((key) => key.getFingerprint().toUpperCase() === signature?.fingerprint);
}

function unknownKey({ signature }: SifDescriptor): string {
  return `Its key ${signature?.fingerprint} is not in the key ring`;
}

function signatureObjects(sif: Sif): SifDescriptor[] {
  return sif.descriptors.filter(({ type }) => type === 'signature');
}

function toSignature({ id, link, signature, created }: SifDescriptor): Signature {
  return { id, signs: link, fingerprint: signature?.fingerprint ?? '', created };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const importOpenPgp = () =>
  importOptional<typeof import('openpgp')>(OPENPGP.module, 'Verifying signatures', OPENPGP);

function noKeys(cause?: unknown): SregistryError {
  return new SregistryError('SETTINGS', 'There are no PGP public keys in the key ring', {
    hint: 'Export them with: apptainer key export --armor FILE, or gpg --export --armor WHOM > FILE',
    cause,
  });
}
