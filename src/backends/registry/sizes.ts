/**
 * Sizes of files that can only be asked for by starting to download them, where each start is counted. A size is remembered. The
 * download that told it waits for a moment, so that a read that follows goes on with it instead of starting another one.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../../base/errors.ts';
import { SingleFlight } from '../../base/single-flight.ts';
import { type HttpClient, showUrl } from '../http.ts';

/** Milliseconds for which a started download waits for its reader. */
const WAIT = 20_000;

export class Sizes {
  readonly #http: HttpClient;
  readonly #sizes = new LRUCache<string, number>({ max: 100_000 });
  readonly #flights = new SingleFlight<number>();
  /** Downloads that wait for a reader, by id. */
  readonly #started = new LRUCache<string, Readable>({
    max: 8,
    ttl: WAIT,
    ttlAutopurge: true,
    dispose: (stream, _id, reason) => {
      if (reason !== 'delete') stream.destroy();
    },
  });

  constructor(http: HttpClient) {
    this.#http = http;
  }

  peek(id: string): number | undefined {
    return this.#sizes.get(id);
  }

  remember(id: string, size: number): void {
    this.#sizes.set(id, size);
  }

  /** The size of a file; starts its download if the size is not known. */
  async get(id: string, url: URL, signal?: AbortSignal): Promise<number> {
    return (
      this.#sizes.get(id) ?? this.#flights.join(id, (flight) => this.#start(id, url, flight.signal), signal)
    );
  }

  /** The download of the file from its first byte, if one waits; the caller reads or destroys it. */
  take(id: string): Readable | undefined {
    const stream = this.#started.get(id);
    this.#started.delete(id);
    return stream?.destroyed === false ? stream : undefined;
  }

  close(): void {
    for (const id of [...this.#started.keys()]) this.take(id)?.destroy();
  }

  async #start(id: string, url: URL, signal: AbortSignal): Promise<number> {
    const { body, total } = await this.#http.open(url, { sequential: true, signal });
    if (total === undefined) {
      body.destroy();
      throw new SregistryError('SERVICE', `${showUrl(url)}: the server does not state the size of the file`);
    }
    // A download that breaks while it waits is no error of anybody.
    body.on('error', () => {});
    this.#sizes.set(id, total);
    this.#started.set(id, body);
    return total;
  }
}
