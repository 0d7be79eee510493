/**
 * JSON files of this user that several processes change: one at a time, under the lock `<file>.lock`, each change made to what
 * the file holds at that moment. A change replaces the file in one move with one of mode 0600, so a reader needs no lock.
 */
import { mkdir, readlink, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { SregistryError, systemCode } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { type JsonObject, readJsonObject } from './json.ts';

export interface EditOptions {
  /** What to do where the file cannot be written, for the error. */
  readonly hint?: string | undefined;
  /** Milliseconds to wait for another process's change. Default 11 s. */
  readonly patience?: number | undefined;
}

/** Milliseconds after which a lock counts as one of a process that died; its owner renews it twice in that time. */
const STALE = 5000;
/** Default of `patience`: longer than a dead process's lock lasts. */
const PATIENCE = 11_000;
/** Milliseconds between two looks at a lock. */
const LONGEST_PAUSE = 300;

/**
 * Replaces what the file holds by what `change` makes of it, and returns that. Nothing is written when `change` returns its
 * argument or throws. `change` may take its time: the lock is held for as long. A link is followed.
 *
 * @throws {SregistryError} BUSY where another process keeps the lock; SETTINGS where the file is malformed or cannot be written.
 */
export async function editJsonFile(
  file: string,
  change: (before: JsonObject) => JsonObject | Promise<JsonObject>,
  { hint, patience = PATIENCE }: EditOptions = {},
): Promise<JsonObject> {
  // Both put handlers on every signal: only who writes pays for that.
  const [{ lock }, { default: writeFileAtomic }] = await Promise.all([
    import('proper-lockfile'),
    import('write-file-atomic'),
  ]);
  const target = await followLink(file);
  let unlock: () => Promise<void>;
  try {
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    unlock = await lock(target, {
      realpath: false,
      onCompromised: (error) => bot.debug(error),
      stale: STALE,
      retries: {
        retries: Math.ceil(patience / LONGEST_PAUSE) + 4,
        factor: 1.5,
        minTimeout: 20,
        maxTimeout: LONGEST_PAUSE,
        randomize: true,
      },
    });
  } catch (error) {
    throw cannotWrite(target, error, hint);
  }
  try {
    const before = (await readJsonObject(target)) ?? {};
    const after = await change(before);
    if (after === before) return before;
    await writeFileAtomic(target, `${JSON.stringify(after, null, 4)}\n`, { mode: 0o600 }).catch((error) => {
      throw cannotWrite(target, error, hint);
    });
    return after;
  } finally {
    // The lock may have been taken for a dead process's; what was written is whole all the same.
    await unlock().catch((error) => bot.debug(error));
  }
}

function cannotWrite(file: string, error: unknown, hint: string | undefined): SregistryError {
  if (systemCode(error) === 'ELOCKED')
    return new SregistryError('BUSY', `Another process keeps ${file} locked.`, { cause: error });
  return new SregistryError('SETTINGS', `Cannot write ${file}.`, { hint, cause: error });
}

async function followLink(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch {
    return readlink(file).then(
      (target) => resolve(dirname(file), target),
      () => file,
    );
  }
}
