/**
 * The secrets file, `~/.sregistry`: `{ "<client>": { KEY: value }, "SREGISTRY_CLIENT": "<the active one>" }`, as the
 * Python client writes it, whose file is used unchanged. Reading never creates it. A change is made to what the file
 * holds at that moment, under a lock, and replaces the file in one move: two writers lose nothing, keys that are
 * unknown here stay, and a file that is malformed is never overwritten.
 */
import { stat } from 'node:fs/promises';
import { SregistryError } from '../base/errors.ts';
import { isJsonObject, type JsonObject, readJsonObject } from './json.ts';
import { editJsonFile } from './locked-file.ts';
import { getPaths } from './paths.ts';
import { upperSnake, variableOf } from './variables.ts';
import { warnOnce } from './warn-once.ts';

export type Secrets = JsonObject;

/** The key of the secrets file, and the environment variable, that name the active client. */
export const ACTIVE = 'SREGISTRY_CLIENT';

const secretsFile = () => getPaths().secretsFile;

/** What the secrets file holds; empty where there is none. */
export async function readClientSecrets(file: string = secretsFile()): Promise<Secrets> {
  const secrets = await readJsonObject(file);
  if (secrets === undefined) return {};
  await warnWhenExposed(file);
  return secrets;
}

/**
 * Sets `updates` in the entry of `backend`, which is created where there is none, and returns all secrets as they
 * are then. With `secrets`, those replace what the file holds, changes of others since they were read included.
 */
export async function updateClientSecrets(
  backend: string,
  updates: JsonObject,
  secrets?: Secrets,
  file: string = secretsFile(),
): Promise<Secrets> {
  return editSecrets((current) => withEntry(secrets ?? current, backend, updates), file);
}

/**
 * Takes a setting out of the entry of `backend`, by any of its names (`token`, `SREGISTRY_NVIDIA_TOKEN`).
 * False where it was not there.
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
 * Takes out the whole entry of `backend`, and deactivates it where it is the active client. False where there was
 * none.
 */
export async function deleteClient(backend: string, file: string = secretsFile()): Promise<boolean> {
  return hasChanged((secrets) => {
    if (entryOf(secrets, backend) === undefined) return secrets;
    const isActive = activeClient(secrets) === backend;
    return without(
      secrets,
      (key) =>
        key === backend || (isActive && key === ACTIVE) || (backend === REGISTRY && ROOT_KEYS.includes(key)),
    );
  }, file);
}

/** The client that is used when neither a URI nor the environment names one. */
export function activeClient(secrets: Secrets): string | undefined {
  const active = secrets[ACTIVE];
  return typeof active === 'string' && active !== '' ? active : undefined;
}

export async function activateClient(name: string, file: string = secretsFile()): Promise<void> {
  await editSecrets((secrets) => ({ ...secrets, [ACTIVE]: name }), file);
}

/** False where no client was active. */
export async function deactivateClient(file: string = secretsFile()): Promise<boolean> {
  return hasChanged((secrets) => without(secrets, (key) => key === ACTIVE), file);
}

/** A registry's login stood at the root of the file before there were several clients. */
const REGISTRY = 'registry';
const ROOT_KEYS = ['base', 'username', 'token'];

/** The entry of a client. That of `registry` includes what stands at the root of the file. */
export function entryOf(secrets: Secrets, client: string): JsonObject | undefined {
  const own = ownEntry(secrets, client);
  if (client !== REGISTRY) return own;
  const root = ROOT_KEYS.filter((key) => typeof secrets[key] === 'string').map((key) => [key, secrets[key]]);
  return root.length === 0 ? own : { ...Object.fromEntries(root), ...own };
}

function ownEntry(secrets: Secrets, client: string): JsonObject | undefined {
  const entry = Object.hasOwn(secrets, client) ? secrets[client] : undefined;
  return isJsonObject(entry) ? entry : undefined;
}

/** `object` without the keys that are meant; itself where there are none. */
function without(object: JsonObject, isMeant: (key: string) => boolean): JsonObject {
  const kept = Object.entries(object).filter(([key]) => !isMeant(key));
  return kept.length === Object.keys(object).length ? object : Object.fromEntries(kept);
}

/** `secrets` with `updates` made to the entry of `client`. */
export function withEntry(secrets: Secrets, client: string, updates: JsonObject): Secrets {
  const entry = Object.hasOwn(secrets, client) ? secrets[client] : {};
  if (client === ACTIVE || !isJsonObject(entry)) {
    throw new SregistryError(
      'SETTINGS',
      `"${client}" in the secrets file is a value, not a client's entry.`,
      {
        hint: 'Choose another name for the client',
      },
    );
  }
  return { ...secrets, [client]: { ...entry, ...updates } };
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

/** As {@link editJsonFile}. Mode 0600; BUSY where another process keeps the lock. */
export async function editSecrets(
  change: (secrets: Secrets) => Secrets,
  file: string = secretsFile(),
): Promise<Secrets> {
  return editJsonFile(file, change, { hint: 'SREGISTRY_CLIENT_SECRETS names another file' });
}

async function warnWhenExposed(file: string): Promise<void> {
  const { mode } = await stat(file);
  const isExposed = (mode & 0o077) !== 0;
  if (isExposed) warnOnce(`${file} holds secrets and others can read it. Fix it with: chmod 600 ${file}`);
}
