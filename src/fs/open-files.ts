/** The table of open files: for each handle of the kernel, its file and the present path of the file. */

import type { OpenFile } from './handles.ts';
import type { OpenPath } from './in-use.ts';
import type { RevisionReference } from './open-revisions.ts';
import { readOnly } from './permissions.ts';
import type { StagedFile } from './staged-file.ts';

/** fuse-native keeps 32 bits of a handle. 0 means no handle. */
const MAX_HANDLE = 0x7fff_ffff;

interface Entry {
  readonly file: OpenFile;
  readonly reference: RevisionReference | undefined;
  /** Its present path, which follows renames as in the kernel. */
  path: string;
}

export class OpenFiles {
  readonly #entries = new Map<number, Entry>();
  #last = 0;

  /** Number of open handles. */
  get count(): number {
    return this.#entries.size;
  }

  /**
   * For each handle: the present path of its file, the path under which it was opened, and whether it was opened for writing.
   */
  get paths(): (OpenPath & { readonly openedAs: string })[] {
    return [...this.#entries.values()].map(({ file, path }) => ({
      path,
      openedAs: file.path,
      writing: file.writes === true,
    }));
  }

  /** Adds a handle on a file. Releasing the handle releases `reference`, if any. */
  add(file: OpenFile, reference?: RevisionReference): number {
    do this.#last = this.#last === MAX_HANDLE ? 1 : this.#last + 1;
    while (this.#entries.has(this.#last));
    this.#entries.set(this.#last, { file, reference, path: file.path });
    return this.#last;
  }

  find(handle: number): OpenFile | undefined {
    return this.#entries.get(handle)?.file;
  }

  /** Throws EBADF if the handle does not exist. */
  get(handle: number): OpenFile {
    return this.#entry(handle).file;
  }

  /** The file that a handle was opened to write. Throws READ_ONLY if it was opened for reading. */
  staged(handle: number): StagedFile {
    const { staged, writes, path } = this.get(handle);
    if (staged === undefined || !writes) throw readOnly(path, 'it was opened for reading');
    return staged;
  }

  has(path: string): boolean {
    return [...this.#entries.values()].some((entry) => entry.path === path);
  }

  rename(from: string, to: string): void {
    for (const entry of this.#entries.values()) if (entry.path === from) entry.path = to;
  }

  async release(handle: number): Promise<void> {
    const { file, reference } = this.#entry(handle);
    this.#entries.delete(handle);
    reference?.release();
    await file.close();
  }

  async releaseAll(): Promise<void> {
    await Promise.allSettled([...this.#entries.keys()].map((handle) => this.release(handle)));
  }

  #entry(handle: number): Entry {
    const entry = this.#entries.get(handle);
    if (entry === undefined) throw Object.assign(new Error(`no open file ${handle}`), { code: 'EBADF' });
    return entry;
  }
}
