/**
 * Fetches absent blocks of one image. Each block is fetched once, even if several readers or processes need it.
 *
 * Within the process, a fetch under way is shared: a reader waits for the blocks it needs, not for the whole fetch, and goes on
 * as soon as they are on disk. Between processes, a fetch first claims its blocks in the cache index. If another process holds
 * the claim, this one looks at the map until the blocks appear, and takes over when that process has ended or hangs. A fetch
 * ends when all its waiters are canceled, so that no request is left behind. Closing ends every fetch and waits for it.
 *
 * Some services send a file only as a whole, and count how often. Then the first reader starts one fetch of the whole file.
 * Other readers wait for it, and it continues to the end even if nobody waits.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isError, SregistryError } from '../base/errors.ts';
import type { Claim } from '../catalog/cache-claims.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { Batches } from './batches.ts';
import { BLOCK_SIZE, type BlockRange } from './block-map.ts';
import type { Entry } from './entry.ts';
import { Fetch } from './fetch.ts';
import { type Origin, receive } from './receive.ts';

/** Bytes that may wait to be written while others are: a few chunks of a socket. */
const LARGEST_BATCH = 512 * 1024;
/** Milliseconds between looks at blocks that another process fetches: at first, and at most after doubling. */
const FIRST_POLL = 15;
const LONGEST_POLL = 250;

export interface FetcherOptions extends Origin {
  readonly key: string;
  readonly entry: Entry;
  readonly index: CacheIndex;
  /** The source can only be read from the beginning to the end. */
  readonly sequential: boolean;
  /** Bytes the cache may hold at most. */
  readonly limit: number;
  /** Frees so many bytes. Returns false if everything left is in use. */
  makeRoom(bytes: number): Promise<boolean>;
  /** Called with the bytes of each chunk that came over the network. */
  onBytes(bytes: number): void;
  /** Called when the last absent block has arrived. */
  onComplete(): void;
}

export class Fetcher {
  readonly #options: FetcherOptions;
  /** Fetches under way, and the end of each. */
  readonly #fetches = new Map<Fetch, Promise<void>>();
  #closed: SregistryError | undefined;

  constructor(options: FetcherOptions) {
    this.#options = options;
  }

  /** Fetches under way, as bytes still to come. */
  get pendingBytes(): number {
    let blocks = 0;
    for (const fetch of this.#fetches.keys()) blocks += fetch.last + 1 - fetch.next;
    return blocks * BLOCK_SIZE;
  }

  /**
   * Resolves when blocks `first..last` are present. A fetch that this starts continues up to block `until`. Throws NO_SPACE if
   * the cache cannot hold them; else the source's errors. Starts nothing if the signal has fired.
   */
  async ensure(first: number, last: number, until: number, signal?: AbortSignal): Promise<void> {
    const { map } = this.#options.entry;
    for (
      let block = map.firstAbsent(first, last);
      block !== undefined;
      block = map.firstAbsent(block, last)
    ) {
      signal?.throwIfAborted();
      const joined = this.#covering(block);
      const fetch = joined ?? this.#start(block, last, until);
      try {
        await fetch.wait(Math.min(last, fetch.last), signal);
      } catch (error) {
        // The wrong bytes may be those of blocks before these; a fetch of their own tells.
        if (joined === undefined || !isError(error, 'CORRUPT')) throw error;
      }
    }
  }

  /** Starts fetching what is absent in `first..last`, without waiting and without reporting failure. */
  prefetch(first: number, last: number): void {
    const { map } = this.#options.entry;
    let block = map.firstAbsent(first, last);
    while (block !== undefined) {
      const fetch = this.#covering(block) ?? this.#start(block, last, last);
      block = fetch.last >= last ? undefined : map.firstAbsent(fetch.last + 1, last);
    }
  }

  /** Resolves when what is under way now has ended, in success or not. */
  async settled(): Promise<void> {
    await Promise.all(this.#fetches.values());
  }

  /** Ends every fetch and refuses more, with `reason`; resolves when none is under way. */
  async close(reason: SregistryError): Promise<void> {
    this.#closed ??= reason;
    for (const fetch of this.#fetches.keys()) fetch.controller.abort(reason);
    await Promise.all(this.#fetches.values());
  }

  #covering(block: number): Fetch | undefined {
    for (const fetch of this.#fetches.keys()) {
      if (fetch.next <= block && block <= fetch.last && !fetch.controller.signal.aborted) return fetch;
    }
    return undefined;
  }

  /** Fetches from `first` up to `last` at least and `until` at most, or to the next block that is present or under way. */
  #start(first: number, last: number, until: number): Fetch {
    if (this.#closed !== undefined) throw this.#closed;
    const fetch = this.#options.sequential ? this.#wholeFetch() : this.#rangeFetch(first, last, until);
    const ended = this.#run(fetch).then(
      () => void this.#fetches.delete(fetch),
      (error: unknown) => {
        // Removed first, so that nobody joins a fetch that has failed.
        this.#fetches.delete(fetch);
        fetch.fail(error);
      },
    );
    this.#fetches.set(fetch, ended);
    return fetch;
  }

  #rangeFetch(first: number, required: number, until: number): Fetch {
    const { map } = this.#options.entry;
    const isFree = (block: number) => !map.has(block) && this.#covering(block) === undefined;
    const wide = this.#widened(first, required, until);
    let [begin, last] = [first, first];
    while (begin > wide.first && isFree(begin - 1)) begin -= 1;
    while (last < wide.last && isFree(last + 1)) last += 1;
    return new Fetch(begin, last);
  }

  /** The blocks to fetch for `first..required`, up to `until`: those that a decoded source gives whole at no further cost. */
  #widened(first: number, required: number, until: number): BlockRange {
    const { entry, source } = this.#options;
    if (source.decoded === undefined) return { first, last: until };
    const endOf = (block: number) => Math.min(entry.size, (block + 1) * BLOCK_SIZE);
    const { offset, end } = source.decoded.widen(first * BLOCK_SIZE, endOf(required), endOf(until));
    const whole = end === entry.size ? entry.map.blocks : Math.floor(end / BLOCK_SIZE);
    return {
      first: Math.min(first, Math.ceil(offset / BLOCK_SIZE)),
      last: Math.max(required, whole - 1),
    };
  }

  /** From the first absent block to the end. */
  #wholeFetch(): Fetch {
    const { map } = this.#options.entry;
    const last = map.blocks - 1;
    return new Fetch(map.firstAbsent(0, last) ?? 0, last, true);
  }

  async #run(fetch: Fetch): Promise<void> {
    const { entry, index } = this.#options;
    const { signal } = fetch.controller;
    while (fetch.next <= fetch.last) {
      const claim = await this.#claim(fetch, signal);
      if (claim === undefined) continue;
      try {
        await this.#fill(fetch, claim.last, signal);
      } finally {
        index.claims.release(claim, entry);
      }
    }
    if (entry.map.complete) this.#options.onComplete();
  }

  /** Claims blocks from the fetch's next block on. Undefined if that block appeared during the wait. */
  async #claim(fetch: Fetch, signal: AbortSignal): Promise<Claim | undefined> {
    const { key, entry, index, limit, makeRoom } = this.#options;
    for (let poll = FIRST_POLL; ; ) {
      signal.throwIfAborted();
      entry.refresh(fetch.next, fetch.last);
      if (entry.map.has(fetch.next)) {
        fetch.advance(entry.map.firstAbsent(fetch.next, fetch.last) ?? fetch.last + 1);
        return undefined;
      }
      if (index.claims.isClaimed(key, fetch.next)) {
        await sleep(poll, undefined, { signal });
        poll = Math.min(LONGEST_POLL, poll * 2);
        continue;
      }
      if (!(await makeRoom((fetch.last + 1 - fetch.next) * BLOCK_SIZE))) throw noSpace(limit);
      signal.throwIfAborted();
      const result = index.claims.acquire(key, fetch.next, fetch.last, BLOCK_SIZE, limit);
      // Without a claim, another process took the blocks or the room meanwhile.
      if ('claim' in result) {
        // Another process may have finished blocks between the look and the claim.
        entry.refresh(fetch.next, fetch.last);
        return result.claim;
      }
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
      // A source without ranges would have to send the file again for what follows a present block.
      while (end < last && (this.#options.sequential || !map.has(end + 1))) end += 1;
      await this.#transfer(fetch, first, end, signal);
    }
  }

  /** One ranged read of the absent blocks `first..last`, written as it arrives. */
  async #transfer(fetch: Fetch, first: number, last: number, signal: AbortSignal): Promise<void> {
    const { entry, onBytes } = this.#options;
    const start = first * BLOCK_SIZE;
    const end = Math.min(entry.size, (last + 1) * BLOCK_SIZE);
    const writer = entry.writer(first);
    const batches = new Batches(LARGEST_BATCH, async (chunks) => {
      await writer.write(chunks);
      const arrived = writer.position === end ? last + 1 : Math.floor(writer.position / BLOCK_SIZE);
      if (arrived > fetch.next) fetch.advance(arrived);
    });
    try {
      for await (const chunk of receive(this.#options, start, end - start, signal)) {
        onBytes(chunk.length);
        await batches.add(chunk);
      }
    } finally {
      await batches.end();
    }
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
