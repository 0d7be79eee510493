/** Helpers of the Python client for files that a client keeps for itself, such as `client.credentialCache`. */
import { mkdir, readFile as read } from 'node:fs/promises';
import { dirname } from 'node:path';
import { requireTexts } from '../base/arguments.ts';
import { fileError } from '../base/files.ts';

export { readJsonObject as readJson } from '../settings/json.ts';

/** Makes a folder, and those above it, for this user alone. Existing ones stay as they are. */
export async function mkdirP(path: string): Promise<void> {
  requireTexts('mkdirP(path)', { path });
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error) => {
    throw fileError('make the folder', path, error);
  });
}

/** The text of a file. Throws NOT_FOUND if it does not exist. */
export async function readFile(path: string): Promise<string> {
  requireTexts('readFile(path)', { path });
  return read(path, 'utf8').catch((error) => {
    throw fileError('read', path, error);
  });
}

/** Replaces a file in one step, for this user alone, as most of these files hold credentials. Makes a missing folder. */
export async function writeFile(path: string, text: string | Buffer): Promise<void> {
  requireTexts('writeFile(path, text)', { path, ...(Buffer.isBuffer(text) ? {} : { text }) });
  // Imported only to write: it installs handlers on every signal.
  const { default: writeFileAtomic } = await import('write-file-atomic');
  try {
    await mkdirP(dirname(path));
    await writeFileAtomic(path, text, { mode: 0o600 });
  } catch (error) {
    throw fileError('write', path, error);
  }
}

/** As {@link writeFile}, for a value as JSON. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 4)}\n`);
}
