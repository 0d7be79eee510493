/**
 * A note beside each staged file that says, like the journal, where its bytes belong. It is written before the first byte,
 * so that a file outlives the loss of the journal.
 *
 * `<staged>.json` holds the backend, path and URI, or says that the file is spare: its bytes are in the registry or given up. A
 * note is replaced as a whole, is readable by its owner only, and is removed with the file.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { PushRecord } from './push-record.ts';

export type StagedPlace = Pick<PushRecord, 'backend' | 'path' | 'uri'>;

const NOTE = '.json';
/** Extension of a note that is still being written. */
const PART = `${NOTE}.part`;

/** Notes where the bytes of a staged file belong. Throws the system's own errors. */
export function noteStaged(file: string, { backend, path, uri }: StagedPlace): void {
  write(file, { backend, path, uri });
}

/** Notes that a staged file may be removed when nobody uses it. Throws the system's own errors. */
export function noteSpare(file: string): void {
  write(file, { spare: true });
}

/** Undefined if no readable note exists. */
export function readNote(file: string): StagedPlace | 'spare' | undefined {
  try {
    const { backend, path, uri, spare } = JSON.parse(readFileSync(file + NOTE, 'utf8'));
    if (spare === true) return 'spare';
    const isPlace = [backend, path, uri].every((each) => typeof each === 'string');
    return isPlace ? { backend, path, uri } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The name of the staged file that a file in the staging folder belongs to: for a note, the file beside it; else the file
 * itself.
 */
export function stagedNameOf(name: string): string {
  const suffix = [PART, NOTE].find((each) => name.endsWith(each)) ?? '';
  return name.slice(0, name.length - suffix.length);
}

/** Removes a staged file with its note. Not an error if it is gone. */
export async function removeStaged(file: string): Promise<void> {
  for (const each of [file, file + NOTE, file + PART]) await rm(each, { force: true, recursive: true });
}

function write(file: string, content: object): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file + PART, JSON.stringify(content), { mode: 0o600 });
  renameSync(file + PART, file + NOTE);
}
