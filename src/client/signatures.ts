/** Tells who signed an image, and verifies the signatures. */
import { readFile } from 'node:fs/promises';
import type { Progress } from '../backends/backend.ts';
import { fileError } from '../base/files.ts';
import {
  type KeyRing,
  listSignatures,
  readKeyRing,
  type Signature,
  type Verification,
  verifySignatures,
} from '../image/signatures.ts';
import type { ByteSource } from '../image/source.ts';
import { findInspectTarget } from './inspect-target.ts';
import type { Session } from './session.ts';

export interface VerifyOptions {
  /** Called with the bytes read and their total. */
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The claimed signers of an image. Checks nothing, and reads only the headers of a remote image. */
export async function signaturesOf(
  session: Session,
  text: string,
  signal?: AbortSignal,
): Promise<Signature[]> {
  const target = await findInspectTarget(session, text, signal);
  if (target.neverSigned !== undefined) return [];
  await using source = await target.open();
  return await listSignatures(source);
}

/** Checks the signatures of an image against the public keys in a file. A remote image is read through the cache. */
export async function verifyImage(
  session: Session,
  text: string,
  keyring: string,
  { progress, signal }: VerifyOptions = {},
): Promise<Verification> {
  const keys = await openKeyRing(keyring);
  const target = await findInspectTarget(session, text, signal);
  const { neverSigned } = target;
  if (neverSigned !== undefined) return { verified: false, signatures: [], reason: neverSigned };
  await using source = await target.open();
  return await verifySignatures(counted(source, progress), keys);
}

/** The public keys in a file. Throws SETTINGS if it has none, NOT_FOUND if it does not exist. */
export async function openKeyRing(path: string): Promise<KeyRing> {
  try {
    return await readKeyRing(await readFile(path));
  } catch (error) {
    throw fileError('read the key ring', path, error);
  }
}

function counted({ size, read }: ByteSource, progress: Progress = () => {}): ByteSource {
  let done = 0;
  return {
    size,
    read: async (offset, length) => {
      const bytes = await read(offset, length);
      done = Math.min(size, done + bytes.length);
      progress(done, size);
      return bytes;
    },
  };
}
