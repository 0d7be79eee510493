/**
 * Ranged streams. A stream is one ranged GET; when its body breaks off or stalls, another one continues where it broke,
 * so a reader sees one whole range of one revision or an error. The first answer's entity tag and size pin the
 * revision: a continuation that belongs to another one is the error STALE.
 *
 * Patience is counted in failures and time without progress; each byte that arrives resets both. So a slow
 * transfer may take hours, while a dead one ends within the client's deadline.
 */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError } from '../../base/abort.ts';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/debug.ts';
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
  /** Size of the whole, where it is known; another one is the error STALE. */
  readonly total?: number | undefined;
  /** Entity tag that the bytes must belong to, else STALE. */
  readonly ifMatch?: string | undefined;
  /** `Last-Modified` of the bytes as the service wrote it, else STALE. It is what counts where there is no entity tag. */
  readonly ifUnmodifiedSince?: string | undefined;
  readonly headers?: Headers | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where redirects are remembered, so that the next range of the same URL goes straight there. */
  readonly redirects?: RedirectMemory | undefined;
}

/** URL to where it was last redirected: presigned URLs mostly, so entries should live for a minute, not longer. */
export interface RedirectMemory {
  get(url: string): string | undefined;
  set(url: string, target: string): unknown;
  delete(url: string): unknown;
}

export interface RangeStream {
  readonly body: Readable;
  /** Size of the whole resource, where the service says. */
  readonly total: number | undefined;
}

/** Failures in a row, without a byte between them, after which a stream gives up. */
const MAX_FAILURES = 5;
/** Milliseconds before the second continuation without progress; doubled for each further one. */
const FIRST_DELAY = 250;

/**
 * Resolves when the head of the first answer is there and right. The body gives exactly the bytes asked for, as they
 * came from the socket; destroying it ends the request.
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
  };
  if (wanted.length === 0) return { body: Readable.from([]), total: wanted.total };
  const first = await openPart(source, wanted, transport.timeout);
  const pinned = {
    ...wanted,
    total: wanted.total ?? first.total,
    etag: wanted.etag ?? first.etag,
    modified: wanted.modified ?? first.modified,
  };
  return { body: toReadable(continued(source, pinned, first), controller), total: first.total };
}

interface Source {
  readonly transport: Transport;
  readonly url: URL;
  readonly options: StreamOptions;
  readonly signal: AbortSignal;
}

/** The bytes of `wanted`, beginning with the part that is open already. */
async function* continued(
  source: Source,
  wanted: RangeRequest,
  first: RangeResponse,
): AsyncGenerator<Buffer> {
  const length = wanted.length ?? first.length;
  const patience = new Patience(source);
  let part: RangeResponse | undefined = first;
  let done = 0;
  while (length === undefined || done < length) {
    try {
      part ??= await openPart(source, after(wanted, done), patience.left()).catch(goneIsStale);
      for await (const chunk of bytesOf(part)) {
        done += chunk.length;
        yield chunk;
        patience.renew();
      }
      if (length === undefined) return;
    } catch (error) {
      await patience.spend(error, wanted.offset + done);
    }
    part = undefined;
  }
}

/** What was there when the first byte came has been removed or replaced since. */
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

/** Opens one part: straight where the last redirect led, if that still works, else by its own URL. */
async function openPart(source: Source, wanted: RangeRequest, budget: number): Promise<RangeResponse> {
  const { url, options } = source;
  const target = options.redirects?.get(url.href);
  if (target !== undefined) {
    try {
      return await openAt(source, new URL(target), wanted, budget);
    } catch (error) {
      if (source.signal.aborted || isError(error, 'STALE')) throw error;
      debug('%s: its redirect is no longer good: %s', url.pathname, describeError(error));
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

/** The wanted bytes of a body, cut out of its chunks without copying. */
async function* bytesOf({ answer, skip, length }: RangeResponse): AsyncGenerator<Buffer> {
  let before = skip;
  let left = length ?? Number.POSITIVE_INFINITY;
  // Goes on after the last wanted byte: a body read to its end leaves a connection that can be used again.
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
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

/** How much failure a stream bears before it gives up; progress renews it. */
class Patience {
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

  /** Milliseconds until the time without progress is up. */
  left(): number {
    return Math.max(1, this.#since + this.#source.transport.timeout - performance.now());
  }

  /** Waits a while after a failure at byte `at`, or throws it where it cannot be mended or is one too many. */
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

/** `Readable.from` would not end a request that is waiting for bytes: here `destroy` aborts it at once. */
function toReadable(bytes: AsyncGenerator<Buffer>, controller: AbortController): Readable {
  return new Readable({
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
