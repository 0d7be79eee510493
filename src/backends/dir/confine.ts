/**
 * Confines all access to the base directory. People who can write to a shared directory can put symbolic links into it, and this
 * process may have more permissions than they have. So links are followed only if they stay inside the base.
 */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, mkdir, readlink, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { SregistryError, systemCode } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { debugLog } from '../../log/index.ts';
import { openFile } from '../file-range.ts';

const debug = debugLog('dir');

/** Error codes of a path that does not exist, unlike missing permission or a failing file system. */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'];

export interface Found {
  /** Absolute, without symbolic links, inside the base. */
  readonly path: string;
  readonly stats: BigIntStats;
}

export class Confinement {
  readonly base: string;

  constructor(base: string) {
    this.base = base;
  }

  /** The file or folder at `path`, relative to the base; undefined if it does not exist or lies outside the base. */
  async find(path: string): Promise<Found | undefined> {
    const asked = join(this.base, path);
    try {
      const real = await realpath(asked);
      if (!(await this.#holds(real))) return undefined;
      return { path: real, stats: await stat(real, { bigint: true }) };
    } catch (error) {
      if (!ABSENT.includes(systemCode(error) ?? '')) throw fileError('look at', asked, error);
      await this.assertBase();
      return undefined;
    }
  }

  /**
   * Opens a file for reading, with additional `flags`. It checks the opened file itself, so a change since the lookup cannot lead out
   * of the base; if it does, throws FORBIDDEN.
   */
  async open(path: string, flags = 0): Promise<FileHandle> {
    const file = await openFile(path, flags);
    try {
      if (await this.#holds(await readlink(`/proc/self/fd/${file.fd}`))) return file;
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
    throw new SregistryError('FORBIDDEN', `${path} leads out of ${this.base}`);
  }

  /** Path of the folder; creates missing ones. Throws FORBIDDEN if a link leads out of the base. */
  async makeFolder(folders: readonly string[]): Promise<string> {
    await this.assertBase();
    let path = await realpath(this.base);
    for (const folder of folders) {
      const next = join(path, folder);
      try {
        await mkdir(next).catch(unlessExists);
        path = await realpath(next);
      } catch (error) {
        throw fileError('make the folder', next, error);
      }
      if (!(await this.#holds(path)))
        throw new SregistryError('FORBIDDEN', `${next} leads out of ${this.base}`);
    }
    return path;
  }

  /** Throws unless the base is a directory: if its file system is not mounted, it must not look empty. */
  async assertBase(): Promise<void> {
    const stats = await stat(this.base).catch((cause: unknown) => {
      throw new SregistryError('UNREACHABLE', `The directory ${this.base} is not accessible`, {
        hint: 'Check that it exists and that its file system is mounted',
        cause,
      });
    });
    if (!stats.isDirectory()) throw new SregistryError('SETTINGS', `${this.base} is not a directory`);
  }

  async #holds(real: string): Promise<boolean> {
    const base = await realpath(this.base);
    const isInside = real === base || real.startsWith(base.endsWith(sep) ? base : base + sep);
    if (!isInside) debug('%s is outside %s', real, base);
    return isInside;
  }
}

function unlessExists(error: unknown): void {
  if (systemCode(error) !== 'EEXIST') throw error;
}
