/** What a mount allows: the options it was mounted with, and what its backends can do. */
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import type { Lookup } from './lookup.ts';

export interface PermissionOptions {
  readonly readOnly: boolean;
  readonly allowDelete: boolean;
  readonly noOverwrite: boolean;
}

export class Permissions {
  readonly #options: PermissionOptions;
  readonly #lookup: Lookup;

  constructor(options: PermissionOptions, lookup: Lookup) {
    this.#options = options;
    this.#lookup = lookup;
  }

  /** READ_ONLY on a read-only mount. */
  checkWritable(path: string): void {
    if (this.#options.readOnly) throw readOnly(path, 'mounted with --read-only');
  }

  /** READ_ONLY where the backend cannot be pushed to. */
  async checkPush(path: string, backendName: string): Promise<void> {
    const backend = await this.#lookup.backend(backendName);
    if (backend.push === undefined)
      throw readOnly(path, `${backend.name} (${backend.driver}) cannot be pushed to`);
  }

  /** FORBIDDEN where images are not removed from registries; `act` says what was to be done. */
  checkDelete(act: string, alternative: string): void {
    if (this.#options.allowDelete) return;
    throw new SregistryError('FORBIDDEN', act, { hint: `Mount with --allow-delete, or ${alternative}` });
  }

  /** Must what exists be left as it is? */
  get keepsExisting(): boolean {
    return this.#options.noOverwrite;
  }

  /**
   * May a name be written whose service cannot be reached? Whether it exists is not known: it is shown as a file that
   * can be written, so that what is copied there is staged and kept, and that is an error to read.
   */
  mayWriteUnseen(backend: Backend, error: unknown): boolean {
    const { readOnly, noOverwrite } = this.#options;
    return isError(error, 'UNREACHABLE') && !readOnly && !noOverwrite && backend.push !== undefined;
  }
}

export function readOnly(path: string, why: string): SregistryError {
  return new SregistryError('READ_ONLY', `${path} cannot be written: ${why}`);
}

export function exists(path: string): SregistryError {
  return new SregistryError('EXISTS', `${path} exists already`, {
    hint: 'The mount does not overwrite (--no-overwrite): push it under another tag',
  });
}
