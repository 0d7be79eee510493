/** What a mount allows, by its options and by what its backends can do. */
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

  /** Throws READ_ONLY on a read-only mount. */
  checkWritable(path: string): void {
    if (this.#options.readOnly) throw readOnly(path, 'mounted with --read-only');
  }

  /** Throws READ_ONLY if the backend cannot be pushed to. */
  async checkPush(path: string, backendName: string): Promise<void> {
    const backend = await this.#lookup.backend(backendName);
    if (backend.push === undefined)
      throw readOnly(path, `${backend.name} (${backend.driver}) cannot be pushed to`);
  }

  /**
   * Throws FORBIDDEN if the mount may not remove images from registries. `act` is the message, `alternative` completes the
   * hint.
   */
  checkDelete(act: string, alternative: string): void {
    if (this.#options.allowDelete) return;
    throw new SregistryError('FORBIDDEN', act, { hint: `Mount with --allow-delete, or ${alternative}` });
  }

  /** Must existing images be kept as they are? */
  get keepsExisting(): boolean {
    return this.#options.noOverwrite;
  }

  /**
   * May a name be written although its service cannot be reached? Such a name may or may not exist. The mount shows it as a
   * file that can be written but not read, so that a copy to it is staged and kept.
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
