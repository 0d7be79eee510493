/**
 * Ranged streams. A stream starts as one ranged GET. If its body breaks off or stalls, another GET continues at that byte, so the
 * reader gets the whole range of one revision or an error. The first answer's entity tag and size identify the revision; a
 * continuation of another revision is the error STALE.
 *
 * The stream gives up after too many failures or too much time without progress. Each arriving byte resets both. A slow transfer may
 * therefore take hours, while a dead one ends within the client's deadline.
 */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError } from '../../base/abort.ts';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/debug.ts';
import { chunksOf } from './body.ts';
import { outOfTime, startDeadline } from './deadline.ts';
import { networkError, showRequest } from './errors.ts';
import type { Headers } from './exchange.ts';
import {
  checkRangeResponse,
  condition,
  type RangeRequest,
  type RangeResponse,
  rangeHeader,
} from './range-response.ts';
import { attemptsWorth } from './retry.ts';
import { open, resolveUrl, type Transport } from './transport.ts';

const debug = debugLog('http');

export interface StreamOptions {
  /** First byte. Default 0. */
  readonly offset?: number | undefined;
  /** Bytes. Default: to the end. */
  readonly length?: number | undefined;
  /** Size of the whole resource in bytes, if known. STALE if the resource has another size. */
  readonly total?: number | undefined;
  /** Expected entity tag. STALE if the resource has another one. */
  readonly ifMatch?: string | undefined;
  /** Expected `Last-Modified` as the service wrote it, compared if there is no entity tag. STALE if the resource has another one. */
  readonly ifUnmodifiedSince?: string | undefined;
  /** The service knows no ranges: send none, and read and discard what lies before the offset. Default false. */
  readonly sequential?: boolean | undefined;
  readonly headers?: Headers | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Remembers redirects, so that the next range of the same URL goes directly to the target. */
  readonly redirects?: RedirectMemory | undefined;
}

/** Maps a URL to its last redirect target. Most targets are presigned URLs, so keep an entry for at most a minute. */
export interface RedirectMemory {
  get(url: string): string | undefined;
  set(url: string, target: string): unknown;
  delete(url: string): unknown;
}

export interface RangeStream {
  readonly body: Readable;
  /** Size of the whole resource in bytes, if the service states it. */
  readonly total: number | undefined;
}

/** Consecutive failures without progress after which a stream gives up. */
const MAX_FAILURES = 5;
/** Milliseconds before the second continuation without progress; doubled for each further one. */
const FIRST_DELAY = 250;

/**
 * Resolves when the head of the first answer has arrived and passed its checks. The body yields exactly the requested bytes;
 * destroying it ends the request.
 */
export async function openStream(
  transport: Transport,
  address: string | URL,
  options: StreamOptions = {},
): Promise<RangeStream> {
  const url = resolveUrl(transport, address);
  const controller = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
  const source: Source = { transport, url, options, signal };
  const wanted: RangeRequest = {
    offset: options.offset ?? 0,
    length: options.length,
    total: options.total,
    etag: options.ifMatch,
    modified: options.ifUnmodifiedSince,
    byTime: options.ifMatch === undefined && options.ifUnmodifiedSince !== undefined,
    sequential: options.sequential,
  };
  if (wanted.length === 0) return { body: Readable.from([]), total: wanted.total };
  const first = await openPart(source, wanted, transport.timeout);
  const ofRevision = {
    ...wanted,
    total: wanted.total ?? first.total,
    etag: wanted.etag ?? first.etag,
    modified: wanted.modified ?? first.modified,
  };
  return { body: toReadable(continued(source, ofRevision, first), controller), total: first.total };
}

interface Source {
  readonly transport: Transport;
  readonly url: URL;
  readonly options: StreamOptions;
  readonly signal: AbortSignal;
}

/** The bytes of `wanted`, starting with the part that is already open. */
async function* continued(
  source: Source,
  wanted: RangeRequest,
  first: RangeResponse,
): AsyncGenerator<Buffer> {
  const length = wanted.length ?? first.length;
  const retries = new Retries(source);
  let part: RangeResponse | undefined = first;
  let done = 0;
  while (length === undefined || done < length) {
    try {
      part ??= await openPart(source, after(wanted, done), retries.left()).catch(goneIsStale);
      for await (const chunk of bytesOf(part)) {
        done += chunk.length;
        yield chunk;
        retries.renew();
      }
      if (length === undefined) return;
    } catch (error) {
      await retries.spend(error, wanted.offset + done);
    }
    part = undefined;
  }
}

/** STALE for NOT_FOUND: the resource existed when the stream began. */
function goneIsStale(error: unknown): never {
  if (!isError(error, 'NOT_FOUND')) throw error;
  throw new SregistryError('STALE', error.message, {
    hint: 'open it again',
    status: error.status,
    cause: error,
  });
}

function after(wanted: RangeRequest, done: number): RangeRequest {
  const length = wanted.length === undefined ? undefined : wanted.length - done;
  return { ...wanted, offset: wanted.offset + done, length };
}

/** Opens one part at the remembered redirect target, or at its own URL if that fails. */
async function openPart(source: Source, wanted: RangeRequest, budget: number): Promise<RangeResponse> {
  const { url, options } = source;
  const target = options.redirects?.get(url.href);
  if (target !== undefined) {
    try {
      return await openAt(source, new URL(target), wanted, budget);
    } catch (error) {
      if (source.signal.aborted || isError(error, 'STALE')) throw error;
      debug('%s: its redirect target no longer works: %s', url.pathname, describeError(error));
      options.redirects?.delete(url.href);
    }
  }
  const part = await openAt(source, url, wanted, budget);
  if (part.answer.url.href !== url.href) options.redirects?.set(url.href, part.answer.url.href);
  return part;
}

async function openAt(
  source: Source,
  url: URL,
  wanted: RangeRequest,
  budget: number,
): Promise<RangeResponse> {
  const deadline = startDeadline(budget, showRequest({ method: 'GET', url }), source.signal);
  const headers = {
    'accept-encoding': 'identity',
    ...source.options.headers,
    ...condition(wanted),
    ...rangeHeader(wanted),
  };
  try {
    const answer = await open(source.transport, url, { headers, allow: [], deadline });
    try {
      return checkRangeResponse(answer, wanted);
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  } finally {
    deadline.clear();
  }
}

/** The requested bytes of a body, cut out of its chunks without copying. */
async function* bytesOf({ answer, skip, length }: RangeResponse): AsyncGenerator<Buffer> {
  let before = skip;
  let left = length ?? Number.POSITIVE_INFINITY;
  // Read on after the last requested byte: the connection can be reused only after the end of the body.
  for await (const chunk of chunksOf(answer.body)) {
    if (left === 0) return;
    const bytes = chunk.subarray(Math.min(before, chunk.length)).subarray(0, left);
    before = Math.max(0, before - chunk.length);
    left -= bytes.length;
    if (bytes.length > 0) yield bytes;
  }
  if (length !== undefined && left > 0) {
    const what = showRequest({ method: 'GET', url: answer.url });
    throw new SregistryError('UNREACHABLE', `${what}: the answer ended ${left} bytes early`);
  }
}

/** Counts a stream's failures and time without progress. Progress resets both. */
class Retries {
  readonly #source: Source;
  #failures = 0;
  #since = performance.now();

  constructor(source: Source) {
    this.#source = source;
  }

  renew(): void {
    this.#failures = 0;
    this.#since = performance.now();
  }

  /** Milliseconds left before the stream gives up without progress. */
  left(): number {
    return Math.max(1, this.#since + this.#source.transport.timeout - performance.now());
  }

  /** Waits after a failure at byte `at`. Throws it if a retry cannot help or the failures are too many. */
  async spend(error: unknown, at: number): Promise<void> {
    const { transport, signal, url } = this.#source;
    const where = { method: 'GET', url };
    if (signal.aborted) throw abortError(signal, showRequest(where));
    const failure = networkError(where, error, transport.stall);
    if (++this.#failures > MAX_FAILURES || attemptsWorth(failure, true) === 1) throw failure;
    const delay = this.#failures === 1 ? 0 : FIRST_DELAY * 2 ** (this.#failures - 2);
    if (delay >= this.left()) throw outOfTime(showRequest(where), transport.timeout, failure);
    debug('%s continues at byte %d: %s', showRequest(where), at, failure.message);
    await sleep(delay, undefined, { signal });
  }
}

/** A stream of `bytes` whose `destroy` aborts a waiting request at once; `Readable.from` would wait for the next bytes. */
function toReadable(bytes: AsyncGenerator<Buffer>, controller: AbortController): Readable {
  return new Readable({
    // One chunk at a time: Node copies those that wait into one.
    highWaterMark: 1,
    read() {
      bytes.next().then(
        ({ done, value }) => this.push(done ? null : value),
        (error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      controller.abort();
      bytes.return(undefined).then(
        () => callback(error),
        () => callback(error),
      );
    },
  });
}
