/**
 * A file on its way into the cache whose size nobody knows before its end. It reserves room as it grows. Only one process at a
 * time makes the file of a key.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SregistryError } from '../base/errors.ts';
import type { Claim, Presence } from '../catalog/cache-claims.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { BLOCK_SIZE } from './block-map.ts';
import { incomingFolder } from './maintenance.ts';

/** Milliseconds between two looks at whether the other process has ended. */
const POLL = 200;
/** Fewest bytes that are reserved at once. */
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
  readonly #file: FileHandle;
  #size = 0;

  private constructor(
    key: string,
    options: GrowingFileOptions,
    lock: Claim,
    claim: Claim,
    path: string,
    file: FileHandle,
  ) {
    this.path = path;
    this.#key = key;
    this.#options = options;
    this.#lock = lock;
    this.#claims = [claim];
    this.#file = file;
  }

  /**
   * Begins the file of a key. Undefined if another process was making it; it has ended by then, in success or not.
   * @param expected bytes to reserve at first.
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
    const turn = `${key} turn`;
    for (; index.claims.isClaimed(turn, 0); waited = true) await sleep(POLL, undefined, { signal });
    if (waited) return undefined;
    const lock = await reserve(turn, 0, 0, options);
    if (lock === undefined) return undefined;
    let claim: Claim | undefined;
    try {
      claim = await reserve(key, 0, expected, options);
      if (claim === undefined) throw new SregistryError('INTERNAL', `${key} is made twice`);
      const folder = incomingFolder(root);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, `${randomUUID()}.data`);
      return new GrowingFile(key, options, lock, claim, path, await open(path, 'wx', 0o600));
    } catch (error) {
      if (claim !== undefined) index.claims.release(claim, NOWHERE);
      index.claims.release(lock, NOWHERE);
      throw error;
    }
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends bytes. @throws {SregistryError} NO_SPACE if the cache has no room for them. */
  async write(bytes: Uint8Array): Promise<void> {
    const reserved = ((this.#claims.at(-1) as Claim).last + 1) * BLOCK_SIZE;
    if (this.#size + bytes.length > reserved) {
      const claim = await reserve(this.#key, reserved / BLOCK_SIZE, reserved / 2, this.#options);
      if (claim === undefined) throw new SregistryError('INTERNAL', `${this.#key} is made twice`);
      this.#claims.push(claim);
    }
    await this.#file.appendFile(bytes);
    this.#size += bytes.length;
  }

  /** Nothing is written any more. Gives the room back, which the cache counts anew when it takes the file in. */
  async finish(): Promise<void> {
    await this.#file.close();
    for (const claim of this.#claims.splice(0)) this.#options.index.claims.release(claim, NOWHERE);
  }

  /** Removes the file, unless it was moved away, and lets others begin. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish();
    await rm(this.path, { force: true });
    this.#options.index.claims.release(this.#lock, NOWHERE);
  }
}

async function reserve(
  key: string,
  first: number,
  bytes: number,
  { index, limit, makeRoom }: GrowingFileOptions,
): Promise<Claim | undefined> {
  const blocks = bytes === 0 ? 1 : Math.ceil(Math.max(STEP, bytes) / BLOCK_SIZE);
  if (await makeRoom(blocks * BLOCK_SIZE)) {
    const result = index.claims.acquire(key, first, first + blocks - 1, BLOCK_SIZE, limit);
    if ('claim' in result) return result.claim;
    if ('busy' in result) return undefined;
  }
  throw new SregistryError('NO_SPACE', `The cache has no room for ${blocks * BLOCK_SIZE} bytes more`, {
    hint: 'Raise --cache-size, or free disk space',
  });
}
