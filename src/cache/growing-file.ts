/**
 * A file on its way into the cache whose size nobody knows before its end. Whoever writes it reserves room as it grows. Only one
 * process at a time makes the file of a key.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SregistryError } from '../base/errors.ts';
import type { Claim, Presence } from '../catalog/cache-claims.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { BLOCK_SIZE } from './block-map.ts';
import { growingName, turnOf } from './growing-name.ts';
import { incomingFolder } from './maintenance.ts';

/** Milliseconds between two looks at whether the other process has ended. */
const POLL = 200;
/** Fewest bytes that are reserved at once, where there is room. */
const STEP = 64 * BLOCK_SIZE;

/** The files of a claim that has no entry. */
const NOWHERE: Presence = { presentBytes: () => 0, absentBytes: () => 0, isCurrent: () => false };

export interface GrowingFileOptions {
  readonly root: string;
  readonly index: CacheIndex;
  /** Bytes the cache may hold. */
  readonly limit: number;
  makeRoom(bytes: number): Promise<boolean>;
}

export class GrowingFile implements AsyncDisposable {
  readonly path: string;
  readonly #key: string;
  readonly #options: GrowingFileOptions;
  /** Held until the cache has the file, so that nobody makes it once more. */
  readonly #lock: Claim;
  /** The room that is reserved. */
  readonly #claims: Claim[];

  private constructor(key: string, options: GrowingFileOptions, lock: Claim, claim: Claim, path: string) {
    this.path = path;
    this.#key = key;
    this.#options = options;
    this.#lock = lock;
    this.#claims = [claim];
  }

  /**
   * Begins the file of a key. Undefined if another process was making it; it has ended by then, in success or not.
   * @param expected bytes to reserve at first, if the cache has room for them; else as many as it has.
   * @throws {SregistryError} NO_SPACE if the cache has no room.
   */
  static async begin(
    key: string,
    expected: number,
    options: GrowingFileOptions,
    signal?: AbortSignal,
  ): Promise<GrowingFile | undefined> {
    const { index, root } = options;
    let waited = false;
    const turn = turnOf(key);
    for (; index.claims.isClaimed(turn, 0); waited = true) await sleep(POLL, undefined, { signal });
    if (waited) return undefined;
    const lock = await reserve(turn, 0, { wanted: 0, least: 0 }, options);
    if (lock === undefined) return undefined;
    let claim: Claim | undefined;
    try {
      claim = await reserve(key, 0, { wanted: expected, least: 1 }, options);
      if (claim === undefined) throw new SregistryError('INTERNAL', `${key} is made twice`);
      const folder = incomingFolder(root);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, growingName(key));
      await writeFile(path, '', { flag: 'wx', mode: 0o600 });
      return new GrowingFile(key, options, lock, claim, path);
    } catch (error) {
      if (claim !== undefined) index.claims.release(claim, NOWHERE);
      index.claims.release(lock, NOWHERE);
      throw error;
    }
  }

  /** Bytes that it may have. */
  get room(): number {
    const last = this.#claims.at(-1);
    return last === undefined ? 0 : (last.last + 1) * BLOCK_SIZE;
  }

  /** Reserves room for the file to have `size` bytes. @throws {SregistryError} NO_SPACE if the cache has not as much. */
  async reserve(size: number): Promise<void> {
    while (this.room < size) {
      const more = { wanted: this.room / 2, least: size - this.room };
      const claim = await reserve(this.#key, this.room / BLOCK_SIZE, more, this.#options);
      if (claim === undefined) throw new SregistryError('INTERNAL', `${this.#key} is made twice`);
      this.#claims.push(claim);
    }
  }

  /** Nothing is written any more. Gives the room back, which the cache counts anew when it takes the file in. */
  finish(): void {
    for (const claim of this.#claims.splice(0)) this.#options.index.claims.release(claim, NOWHERE);
  }

  /** Removes the file, unless it was moved away, and lets others begin. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.finish();
    await rm(this.path, { force: true });
    this.#options.index.claims.release(this.#lock, NOWHERE);
  }
}

/**
 * Reserves as many bytes as wanted, or else as there is room for, but `least`; one block if these are 0. Undefined if others
 * have the key.
 */
async function reserve(
  key: string,
  first: number,
  { wanted, least }: { wanted: number; least: number },
  { index, limit, makeRoom }: GrowingFileOptions,
): Promise<Claim | undefined> {
  const fewest = Math.max(1, Math.ceil(least / BLOCK_SIZE));
  let blocks = least === 0 ? 1 : Math.max(fewest, Math.ceil(Math.max(STEP, wanted) / BLOCK_SIZE));
  for (;;) {
    if (await makeRoom(blocks * BLOCK_SIZE)) {
      const result = index.claims.acquire(key, first, first + blocks - 1, BLOCK_SIZE, limit);
      if ('claim' in result) return result.claim;
      if ('busy' in result) return undefined;
    }
    if (blocks <= fewest) break;
    blocks = Math.max(fewest, Math.floor(blocks / 2));
  }
  throw new SregistryError('NO_SPACE', `The cache has no room for ${blocks * BLOCK_SIZE} bytes more`, {
    hint: 'Raise --cache-size, or free disk space',
  });
}
