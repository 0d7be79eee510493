/**
 * Decides which images a mount with `--require-signed` opens: those that `apptainer verify` accepts with the keys of the ring.
 * The headers suffice to refuse an unsigned image. Any other image is fetched to local disk before it is verified, so that
 * readers get the bytes that were verified. The outcome is remembered for these bytes. Another revision, or a copy that was
 * fetched anew, is verified again.
 */
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../base/errors.ts';
import { findMissingSignature, type KeyRing, verifySignatures } from '../image/signatures.ts';
import type { ByteSource } from '../image/source.ts';
import type { OpenFile } from './handles.ts';

/** Throws NOT_SIGNED for a file that may not be read. `signal` is that of {@link OpenFile.settle}. */
export type Verify = (file: OpenFile, signal: () => AbortSignal) => Promise<void>;

/** Why a file may not be read; undefined if it may. */
type Outcome = string | undefined;

/** Number of files whose outcome is remembered. */
const MAX_OUTCOMES = 10_000;

export function signedOnly(keys: KeyRing): Verify {
  const outcomes = new LRUCache<string, Promise<Outcome>>({ max: MAX_OUTCOMES });

  const outcomeOf = async (file: OpenFile, signal: () => AbortSignal): Promise<Outcome> => {
    const missing = await findMissingSignature(sourceOf(file, signal), keys).catch(unreadable);
    if (missing !== undefined) return missing;
    const settled = await file.settle?.(signal);
    if (settled === undefined) return check(file, keys, signal);
    const known = outcomes.get(settled);
    if (known !== undefined) return known;
    const outcome = check(file, keys, signal);
    outcomes.set(settled, outcome);
    // A failed read says nothing about the signatures.
    outcome.catch(() => outcomes.delete(settled));
    return outcome;
  };

  return async (file, signal) => {
    const lack = await outcomeOf(file, signal);
    if (lack === undefined) return;
    throw new SregistryError('NOT_SIGNED', `${file.path} cannot be read: ${lack}`, {
      hint: 'The mount opens only images that a key in its ring has signed (--require-signed)',
    });
  };
}

async function check(file: OpenFile, keys: KeyRing, signal: () => AbortSignal): Promise<Outcome> {
  return verifySignatures(sourceOf(file, signal), keys).then(
    ({ verified, reason }) => (verified ? undefined : reason),
    unreadable,
  );
}

/** A file that is not a whole image cannot be signed. */
function unreadable(error: unknown): Outcome {
  if (isError(error, 'NOT_AN_IMAGE', 'CORRUPT')) return error.message;
  throw error;
}

function sourceOf(file: OpenFile, signal: () => AbortSignal): ByteSource {
  const size = file.image?.size ?? file.staged?.size ?? 0;
  return {
    size,
    read: async (offset, length) => {
      const bytes = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
      return bytes.subarray(0, await file.read(bytes, offset, bytes.length, signal()));
    },
  };
}
