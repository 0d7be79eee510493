/**
 * Fetches absent blocks of one image, each block once, whoever asks for it.
 *
 * Within the process, a fetch under way is shared: a reader waits for the blocks it needs, not for the whole fetch, and
 * goes on as soon as they are on disk. Between processes, a fetch first claims its blocks in the cache index; where
 * another process holds the claim, this one waits for the blocks to appear, and takes over when that process ends.
 * A fetch that nobody waits for any more because all its waiters were canceled is ended, so no request is left behind.
 */
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { SregistryError } from '../base/errors.ts';
import type { CacheIndex, Claim } from '../catalog/cache-index.ts';
import { BLOCK_SIZE } from './block-map.ts';
import type { Entry } from './entry.ts';

/** Exactly `length` bytes from `offset` of one revision, as a backend's `read` gives them. */
export type RangeSource = (offset: number, length: number, signal: AbortSignal) => Promise<Readable>;

/** Milliseconds between looks at blocks that another process fetches. */
const POLL_INTERVAL = 15;

interface Waiter {
  readonly block: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One fetch under way: blocks `first..last`, of which those before `next` have arrived. */
class Fetch {
  readonly first: number;
  readonly last: number;
  next: number;
  readonly controller = new AbortController();
  /** Blocks written under the present claim. */
  stored = 0;
  #waiters: Waiter[] = [];

  constructor(first: number, last: number) {
    this.first = first;
    this.last = last;
    this.next = first;
  }

  wait(block: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const settle = () => signal?.removeEventListener('abort', cancel);
      const waiter: Waiter = {
        block,
        resolve: () => {
          settle();
          resolve();
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const cancel = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        if (this.#waiters.length === 0) this.controller.abort(signal?.reason);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', cancel, { once: true });
      this.#waiters.push(waiter);
    });
  }

  advance(next: number): void {
    this.next = next;
    const ready = this.#waiters.filter((waiter) => waiter.block < next);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.block >= next);
    for (const waiter of ready) waiter.resolve();
  }

  fail(error: unknown): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }
}

export interface FetcherOptions {
  readonly key: string;
  readonly entry: Entry;
  readonly index: CacheIndex;
  readonly source: RangeSource;
  /** Bytes the cache may hold at most. */
  readonly limit: number;
  /** Frees so many bytes; false where everything left is in use. */
  makeRoom(bytes: number): Promise<boolean>;
  /** Called with the bytes of each chunk that came over the network. */
  onBytes(bytes: number): void;
  /** Called when the last absent block has arrived. */
  onComplete(): void;
}

export class Fetcher {
  readonly #options: FetcherOptions;
  readonly #fetches = new Set<Fetch>();

  constructor(options: FetcherOptions) {
    this.#options = options;
  }

  /** Fetches under way, as bytes still to come. */
  get pendingBytes(): number {
    let blocks = 0;
    for (const fetch of this.#fetches) blocks += fetch.last + 1 - fetch.next;
    return blocks * BLOCK_SIZE;
  }

  /**
   * Resolves when blocks `first..last` are present; what has to be fetched for it is fetched up to block `until`.
   * NO_SPACE where the cache cannot hold them; else the source's errors.
   */
  async ensure(first: number, last: number, until: number, signal?: AbortSignal): Promise<void> {
    const { map } = this.#options.entry;
    for (
      let block = map.firstAbsent(first, last);
      block !== undefined;
      block = map.firstAbsent(block, last)
    ) {
      const fetch = this.#covering(block) ?? this.#start(block, until);
      await fetch.wait(Math.min(last, fetch.last), signal);
    }
  }

  /** Starts fetching what is absent in `first..last`, without waiting and without reporting failure. */
  prefetch(first: number, last: number): void {
    const { map } = this.#options.entry;
    let block = map.firstAbsent(first, last);
    while (block !== undefined) {
      const fetch = this.#covering(block) ?? this.#start(block, last);
      block = fetch.last >= last ? undefined : map.firstAbsent(fetch.last + 1, last);
    }
  }

  /** Ends every fetch; its waiters are told CANCELED. */
  abort(): void {
    const reason = new SregistryError('CANCELED', 'The fetch was canceled: the image was closed');
    for (const fetch of this.#fetches) fetch.controller.abort(reason);
  }

  #covering(block: number): Fetch | undefined {
    for (const fetch of this.#fetches) {
      if (fetch.next <= block && block <= fetch.last && !fetch.controller.signal.aborted) return fetch;
    }
    return undefined;
  }

  /** Fetches from `first` up to `until`, or to the next block that is present or under way. */
  #start(first: number, until: number): Fetch {
    const { map } = this.#options.entry;
    let last = first;
    while (last < until && !map.has(last + 1) && this.#covering(last + 1) === undefined) last += 1;
    const fetch = new Fetch(first, last);
    this.#fetches.add(fetch);
    this.#run(fetch).then(
      () => this.#fetches.delete(fetch),
      (error: unknown) => {
        this.#fetches.delete(fetch);
        fetch.fail(error);
      },
    );
    return fetch;
  }

  async #run(fetch: Fetch): Promise<void> {
    const { entry } = this.#options;
    const { signal } = fetch.controller;
    while (fetch.next <= fetch.last) {
      const claim = await this.#claim(fetch, signal);
      if (claim === undefined) continue;
      fetch.stored = 0;
      try {
        await this.#fill(fetch, claim.last, signal);
      } finally {
        this.#options.index.release(claim, fetch.stored * BLOCK_SIZE);
      }
    }
    if (entry.map.complete) this.#options.onComplete();
  }

  /** A claim that starts at the fetch's next block; undefined where that block appeared while waiting. */
  async #claim(fetch: Fetch, signal: AbortSignal): Promise<Claim | undefined> {
    const { key, entry, index, limit, makeRoom } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      entry.map.refresh(fetch.next, fetch.last);
      if (entry.map.has(fetch.next)) {
        fetch.advance(entry.map.firstAbsent(fetch.next, fetch.last) ?? fetch.last + 1);
        return undefined;
      }
      if (!(await makeRoom((fetch.last + 1 - fetch.next) * BLOCK_SIZE))) throw noSpace(limit);
      const result = index.claim(key, fetch.next, fetch.last, BLOCK_SIZE, limit);
      if ('claim' in result) {
        // What another process finished between the look and the claim is not fetched again.
        entry.map.refresh(fetch.next, fetch.last);
        return result.claim;
      }
      // Else another process took the room meanwhile: make some again.
      if ('busy' in result) await sleep(POLL_INTERVAL, undefined, { signal });
    }
  }

  /** Fetches what is absent from the fetch's next block to `last`. */
  async #fill(fetch: Fetch, last: number, signal: AbortSignal): Promise<void> {
    const { map } = this.#options.entry;
    while (fetch.next <= last) {
      const first = map.firstAbsent(fetch.next, last);
      if (first === undefined) {
        fetch.advance(last + 1);
        return;
      }
      fetch.advance(first);
      let end = first;
      while (end < last && !map.has(end + 1)) end += 1;
      await this.#transfer(fetch, first, end, signal);
    }
  }

  /** One ranged read of the absent blocks `first..last`, written as it arrives. */
  async #transfer(fetch: Fetch, first: number, last: number, signal: AbortSignal): Promise<void> {
    const { entry, source, onBytes } = this.#options;
    const start = first * BLOCK_SIZE;
    const end = Math.min(entry.size, (last + 1) * BLOCK_SIZE);
    const stream = await source(start, end - start, signal);
    let position = start;
    try {
      for await (const chunk of stream as AsyncIterable<Uint8Array>) {
        if (position + chunk.length > end) throw tooMuch(end - start);
        await entry.write(chunk, position);
        position += chunk.length;
        onBytes(chunk.length);
        const arrived = position === end ? last + 1 : Math.floor(position / BLOCK_SIZE);
        if (arrived > fetch.next) {
          entry.map.mark(fetch.next, arrived - 1);
          fetch.stored += arrived - fetch.next;
          fetch.advance(arrived);
        }
      }
    } finally {
      stream.destroy();
    }
    if (position !== end) throw tooLittle(end - start, position - start);
  }
}

function noSpace(limit: number): SregistryError {
  return new SregistryError(
    'NO_SPACE',
    `The cache is full: its limit is ${limit} bytes and all of it is in use`,
    {
      hint: 'Raise --cache-size, or free disk space',
    },
  );
}

function tooMuch(expected: number): SregistryError {
  return new SregistryError('SERVICE', `The service sent more than the ${expected} bytes asked for`);
}

function tooLittle(expected: number, got: number): SregistryError {
  return new SregistryError('SERVICE', `The service sent ${got} of the ${expected} bytes asked for`);
}
