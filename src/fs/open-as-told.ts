/**
 * Opens paths at what the kernel was told of them last (told.ts). Where a path has come to show something else, the open is refused,
 * and the caller, the kernel, looks it up and opens it once more. Until then the refused handle stays open: a path stays at what it
 * is open at, so the second open gets what the lookup told.
 */
import { debugLog } from '../log/index.ts';
import type { Filesystem } from './filesystem.ts';
import type { ToldAttributes } from './told.ts';

const debug = debugLog('fuse');

/** Milliseconds within which the kernel opens the path once more. It does so at once, unless its caller was killed. */
const WAIT = 1_000;

interface Refused {
  readonly handle: number;
  readonly timer: NodeJS.Timeout;
}

export class OpenAsTold {
  readonly #filesystem: Filesystem;
  readonly #told: ToldAttributes;
  /** By path, the handle that was refused last. */
  readonly #refused = new Map<string, Refused>();

  constructor(filesystem: Filesystem, told: ToldAttributes) {
    this.#filesystem = filesystem;
    this.#told = told;
  }

  /** A handle on what a path shows, or undefined if the kernel has to look the path up first. */
  async open(path: string, flags: number): Promise<number | undefined> {
    let handle: number | undefined;
    try {
      handle = await this.#filesystem.open(path, flags);
      const mayOpen = this.#told.mayOpen(path, await this.#filesystem.fgetattr(path, handle));
      this.#release(path);
      if (mayOpen) return handle;
      this.#keep(path, handle);
      return undefined;
    } catch (error) {
      this.#release(path);
      if (handle !== undefined) this.#close(path, handle);
      throw error;
    }
  }

  #keep(path: string, handle: number): void {
    const timer = setTimeout(() => this.#release(path), WAIT).unref();
    this.#refused.set(path, { handle, timer });
  }

  /** Releases the handle that was refused before, when another one holds what it held, or nobody opens the path. */
  #release(path: string): void {
    const refused = this.#refused.get(path);
    if (refused === undefined) return;
    clearTimeout(refused.timer);
    this.#refused.delete(path);
    this.#close(path, refused.handle);
  }

  #close(path: string, handle: number): void {
    this.#filesystem.release(handle).catch((error: unknown) => debug('%s: %o', path, error));
  }
}
