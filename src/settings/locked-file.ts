/**
 * Edits JSON files that several processes of this user change. A writer takes the lock `<file>.lock`, reads the file, and changes what
 * it holds at that moment. It then replaces the file in one atomic move, with mode 0600, so readers need no lock.
 */
import { mkdir, readlink, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { SregistryError, systemCode } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { type JsonObject, MalformedFile, readJsonObject } from './json.ts';

export interface EditOptions {
  /** Hint of the error if the file cannot be written. */
  readonly hint?: string | undefined;
  /** Milliseconds to wait for the lock of another process. Default 11 s. */
  readonly timeout?: number | undefined;
  /** Replaces a malformed file instead of refusing it. For files that only this program writes. */
  readonly replaceMalformed?: boolean | undefined;
}

/** Milliseconds without renewal after which a lock counts as abandoned. A living owner renews it twice in that time. */
const STALE = 5000;
/** Default of `timeout`: longer than an abandoned lock lasts. */
const TIMEOUT = 11_000;
/** Longest pause between two attempts to take the lock, in milliseconds. */
const LONGEST_PAUSE = 300;

/**
 * Replaces the file's content by the result of `change`, and returns it. Writes nothing if `change` returns its argument or throws. The
 * lock is held until `change` ends. Follows a symbolic link.
 *
 * @throws {SregistryError} BUSY if another process keeps the lock, SETTINGS if the file is malformed or cannot be written.
 */
export async function editJsonFile(
  file: string,
  change: (before: JsonObject) => JsonObject | Promise<JsonObject>,
  { hint, timeout = TIMEOUT, replaceMalformed = false }: EditOptions = {},
): Promise<JsonObject> {
  // Import both only to write: they install handlers on every signal.
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
        retries: Math.ceil(timeout / LONGEST_PAUSE) + 4,
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
    const before = (await readPresent(target, replaceMalformed)) ?? {};
    const after = await change(before);
    if (after === before) return before;
    await writeFileAtomic(target, `${JSON.stringify(after, null, 4)}\n`, { mode: 0o600 }).catch((error) => {
      throw cannotWrite(target, error, hint);
    });
    return after;
  } finally {
    // Another process may have taken the lock as abandoned. The written file is whole in any case.
    await unlock().catch((error) => bot.debug(error));
  }
}

async function readPresent(file: string, replaceMalformed: boolean): Promise<JsonObject | undefined> {
  try {
    return await readJsonObject(file);
  } catch (error) {
    if (!replaceMalformed || !(error instanceof MalformedFile)) throw error;
    bot.debug(error);
    return undefined;
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
