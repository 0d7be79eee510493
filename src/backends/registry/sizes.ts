/**
 * Sizes of files that can only be asked for by starting to download them, where each start is counted. So a size is remembered: in memory
 * by the image's id, and for other processes in a file by its sha256, which no other content has. The download that told a size waits
 * for a moment, so that a read that follows goes on with it instead of starting another one.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { describeError, SregistryError } from '../../base/errors.ts';
import { SingleFlight } from '../../base/single-flight.ts';
import { debugLog } from '../../log/index.ts';
import { type JsonObject, readJsonObject } from '../../settings/json.ts';
import { editJsonFile } from '../../settings/locked-file.ts';
import { type HttpClient, showUrl } from '../http.ts';

const debug = debugLog('registry');

/** Milliseconds for which a started download waits for its reader. */
const WAIT = 20_000;
/** Sizes in the file; the oldest go first. */
const KEPT = 10_000;

/** What identifies an image and its bytes. */
export interface Identity {
  readonly id: string;
  /** `sha256:<hex>`, if the server states it. */
  readonly digest: string | undefined;
}

export interface SizesOptions {
  readonly http: HttpClient;
  /** File for sizes. */
  readonly file: string;
  /** Address of the server, on whose word alone a size is known. */
  readonly server: string;
}

export class Sizes {
  readonly #options: SizesOptions;
  readonly #sizes = new LRUCache<string, number>({ max: 100_000 });
  readonly #flights = new SingleFlight<number>();
  #kept: Promise<JsonObject> | undefined;
  /** Downloads that wait for a reader, by id. */
  readonly #started = new LRUCache<string, Readable>({
    max: 8,
    ttl: WAIT,
    ttlAutopurge: true,
    dispose: (stream, _id, reason) => {
      if (reason !== 'delete') stream.destroy();
    },
  });

  constructor(options: SizesOptions) {
    this.#options = options;
  }

  /** The size if it is known. */
  async find({ id, digest }: Identity): Promise<number | undefined> {
    const known = this.#sizes.get(id);
    if (known !== undefined || digest === undefined) return known;
    this.#kept ??= this.#read();
    const size = (await this.#kept)[this.#keyOf(digest)];
    return Number.isSafeInteger(size) && Number(size) >= 0 ? Number(size) : undefined;
  }

  /** Remembers a size. A failure to write the file is harmless. */
  async remember({ id, digest }: Identity, size: number): Promise<void> {
    this.#sizes.set(id, size);
    if (digest === undefined) return;
    const key = this.#keyOf(digest);
    const add = (before: JsonObject) =>
      before[key] === size
        ? before
        : Object.fromEntries([...Object.entries(before), [key, size] as const].slice(-KEPT));
    try {
      await editJsonFile(this.#options.file, add, { replaceMalformed: true });
    } catch (error) {
      debug('a size was not kept: %s', describeError(error));
    }
  }

  /** The size of a file; starts its download if the size is not known. */
  async get(image: Identity, url: URL, signal?: AbortSignal): Promise<number> {
    const known = await this.find(image);
    return known ?? this.#flights.join(image.id, (flight) => this.#start(image, url, flight.signal), signal);
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

  async #start(image: Identity, url: URL, signal: AbortSignal): Promise<number> {
    const { body, total } = await this.#options.http.open(url, { sequential: true, signal });
    if (total === undefined) {
      body.destroy();
      throw new SregistryError('SERVICE', `${showUrl(url)}: the server does not state the size of the file`);
    }
    // A download that breaks while it waits fails no reader.
    body.on('error', () => {});
    this.#started.set(image.id, body);
    await this.remember(image, total);
    return total;
  }

  async #read(): Promise<JsonObject> {
    try {
      return (await readJsonObject(this.#options.file)) ?? {};
    } catch (error) {
      debug('the sizes kept cannot be read: %s', describeError(error));
      return {};
    }
  }

  #keyOf(digest: string): string {
    return `${this.#options.server} ${digest}`;
  }
}
