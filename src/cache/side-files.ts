/**
 * Small files beside the images, which cost something to make again and are not worth an entry each: one file a key, in one folder.
 * They take a small part of the cache; those that were used longest ago go first. Their form tells whoever reads them if one is
 * damaged.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { incomingFolder } from './maintenance.ts';

export class SideFiles {
  readonly #root: string;
  readonly #folder: string;
  readonly #limit: number;

  /**
   * @param root the folder of the cache.
   * @param name of the folder in it.
   * @param limit bytes that all files may take.
   */
  constructor(root: string, name: string, limit: number) {
    this.#root = root;
    this.#folder = join(root, name);
    this.#limit = limit;
  }

  /** The file of a key, which counts as used now; undefined if there is none. Errors are Node's own. */
  async get(key: string): Promise<Buffer | undefined> {
    const path = this.#pathOf(key);
    try {
      const bytes = await readFile(path);
      const now = new Date();
      await utimes(path, now, now);
      return bytes;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      return undefined;
    }
  }

  /** Puts a file in place, unless it is larger than all may be, and removes others. Errors are Node's own. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#limit) return;
    const incoming = incomingFolder(this.#root);
    const made = join(incoming, randomUUID());
    await mkdir(incoming, { recursive: true, mode: 0o700 });
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    try {
      await writeFile(made, bytes, { mode: 0o600, flag: 'wx' });
      await rename(made, this.#pathOf(key));
    } finally {
      await rm(made, { force: true });
    }
    await this.#prune();
  }

  async drop(key: string): Promise<void> {
    await rm(this.#pathOf(key), { force: true });
  }

  /** A name that is safe whatever the key is. */
  #pathOf(key: string): string {
    return join(this.#folder, createHash('sha256').update(key).digest('hex'));
  }

  async #prune(): Promise<void> {
    const names = await readdir(this.#folder);
    const found = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#folder, name);
        // Another process may remove it meanwhile.
        const stats = await stat(path).catch(() => undefined);
        return { path, size: stats?.size ?? 0, used: stats?.mtimeMs ?? 0 };
      }),
    );
    let total = found.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of found.sort((a, b) => a.used - b.used)) {
      if (total <= this.#limit) return;
      await rm(path, { force: true, recursive: true });
      total -= size;
    }
  }
}
