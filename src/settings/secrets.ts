/**
 * The secrets file, `~/.sregistry`: `{ "<backend>": { KEY: value }, "SREGISTRY_CLIENT": "<the active one>" }`. It has the Python
 * client's format, and both can use the same file. Reading never creates it. A writer takes a lock, changes what the file holds at that
 * moment, and replaces the file in one move. So two writers lose nothing, unknown keys stay, and a malformed file is never
 * overwritten.
 */
import { stat } from 'node:fs/promises';
import { requireObject, requireTexts } from '../base/arguments.ts';
import { SregistryError } from '../base/errors.ts';
import { isJsonObject, type JsonObject, readJsonObject } from './json.ts';
import { editJsonFile } from './locked-file.ts';
import { getPaths } from './paths.ts';
import { upperSnake, variableOf } from './variables.ts';
import { warnOnce } from './warn-once.ts';

export type Secrets = JsonObject;

/** The key in the secrets file and the environment variable that name the active backend. */
export const ACTIVE = 'SREGISTRY_CLIENT';

const secretsFile = () => getPaths().secretsFile;

/** Reads the secrets file; empty if there is none. */
export async function readClientSecrets(file: string = secretsFile()): Promise<Secrets> {
  const secrets = await readJsonObject(file);
  if (secrets === undefined) return {};
  await warnWhenExposed(file);
  return secrets;
}

/**
 * Sets `updates` in the entry of `backend`, creates a missing entry, and returns all secrets. If `secrets` are given, they replace the
 * file's whole content, including changes that others made since.
 */
export async function updateClientSecrets(
  backend: string,
  updates: JsonObject,
  secrets?: Secrets,
  file: string = secretsFile(),
): Promise<Secrets> {
  const signature = 'updateClientSecrets(backend, updates, secrets?, file?)';
  requireTexts(signature, { backend, file });
  requireObject(signature, 'updates', updates);
  return editSecrets((current) => withEntry(secrets ?? current, backend, updates), file);
}

/**
 * Removes a setting from the entry of `backend`, by any of its names (`token`, `SREGISTRY_NVIDIA_TOKEN`). Returns false if it was not
 * set.
 */
export async function removeClientSecret(
  backend: string,
  name: string,
  file: string = secretsFile(),
): Promise<boolean> {
  const names = [upperSnake(name), variableOf(backend, name)];
  const isMeant = (key: string) => names.includes(upperSnake(key));
  return hasChanged((secrets) => {
    const kept =
      backend === REGISTRY ? without(secrets, (key) => ROOT_KEYS.includes(key) && isMeant(key)) : secrets;
    const entry = ownEntry(secrets, backend) ?? {};
    const rest = without(entry, isMeant);
    return rest === entry ? kept : { ...kept, [backend]: rest };
  }, file);
}

/**
 * Removes the entry of `backend`, and deactivates the backend if it is active. Returns false if there was no entry.
 */
export async function deleteClient(backend: string, file: string = secretsFile()): Promise<boolean> {
  return hasChanged((secrets) => {
    if (entryOf(secrets, backend) === undefined) return secrets;
    const isActive = activeBackend(secrets) === backend;
    return without(
      secrets,
      (key) =>
        key === backend || (isActive && key === ACTIVE) || (backend === REGISTRY && ROOT_KEYS.includes(key)),
    );
  }, file);
}

/** The backend that is used if neither a URI nor the environment names one. */
export function activeBackend(secrets: Secrets): string | undefined {
  const active = secrets[ACTIVE];
  return typeof active === 'string' && active !== '' ? active : undefined;
}

export async function activateClient(name: string, file: string = secretsFile()): Promise<void> {
  await editSecrets((secrets) => ({ ...secrets, [ACTIVE]: name }), file);
}

/** Returns false if no backend was active. */
export async function deactivateClient(file: string = secretsFile()): Promise<boolean> {
  return hasChanged((secrets) => without(secrets, (key) => key === ACTIVE), file);
}

/** Early versions of the Python client stored the login of `registry` at the root of the file. */
const REGISTRY = 'registry';
const ROOT_KEYS = ['base', 'username', 'token'];

/** The entry of a backend. The entry of `registry` includes the keys at the root of the file. */
export function entryOf(secrets: Secrets, name: string): JsonObject | undefined {
  const own = ownEntry(secrets, name);
  if (name !== REGISTRY) return own;
  const root = ROOT_KEYS.filter((key) => typeof secrets[key] === 'string').map((key) => [key, secrets[key]]);
  return root.length === 0 ? own : { ...Object.fromEntries(root), ...own };
}

function ownEntry(secrets: Secrets, name: string): JsonObject | undefined {
  const entry = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
  return isJsonObject(entry) ? entry : undefined;
}

/** `object` without the keys that match; `object` itself if none match. */
function without(object: JsonObject, isMeant: (key: string) => boolean): JsonObject {
  const kept = Object.entries(object).filter(([key]) => !isMeant(key));
  return kept.length === Object.keys(object).length ? object : Object.fromEntries(kept);
}

/** `secrets` with `updates` applied to the entry of `name`. */
export function withEntry(secrets: Secrets, name: string, updates: JsonObject): Secrets {
  const entry = Object.hasOwn(secrets, name) ? secrets[name] : {};
  if (name === ACTIVE || !isJsonObject(entry)) {
    throw new SregistryError(
      'SETTINGS',
      `"${name}" in the secrets file is a value, not the entry of a backend.`,
      {
        hint: 'Choose another name for the backend',
      },
    );
  }
  return { ...secrets, [name]: { ...entry, ...updates } };
}

async function hasChanged(change: (secrets: Secrets) => Secrets, file: string): Promise<boolean> {
  let changed = false;
  await editSecrets((secrets) => {
    const result = change(secrets);
    changed = result !== secrets;
    return result;
  }, file);
  return changed;
}

/** Edits the secrets file, as {@link editJsonFile} does. Throws BUSY if another process keeps the lock. */
export async function editSecrets(
  change: (secrets: Secrets) => Secrets,
  file: string = secretsFile(),
): Promise<Secrets> {
  return editJsonFile(file, change, { hint: 'To use another file, set SREGISTRY_CLIENT_SECRETS' });
}

async function warnWhenExposed(file: string): Promise<void> {
  const { mode } = await stat(file);
  const isExposed = (mode & 0o077) !== 0;
  if (isExposed)
    warnOnce(`${file} holds secrets, and other users can read it. Fix it with: chmod 600 ${file}`);
}
