/**
 * Values that are looked up when they are needed and believed for a while: logins, tokens, links, lists. One lookup at a time
 * runs for a key, however many callers wait for it, and each caller waits with its own signal. A value that turned out to be
 * worthless is replaced once: whoever comes with the same worthless value afterwards gets the new one.
 */
import { LRUCache } from 'lru-cache';
import { type SharedCall, SingleFlight } from '../../base/single-flight.ts';

export interface RenewableOptions<T> {
  /** Keys that are kept at most; the least recently used one goes first. Default 1000. */
  readonly max?: number | undefined;
  /** Milliseconds for which a value is believed; Infinity for as long as nobody refuses it. */
  readonly lifetime: number | ((value: T) => number);
}

export type Lookup<T> = (signal: AbortSignal) => Promise<T>;

export class Renewable<T> {
  readonly #known: LRUCache<string, { readonly value: T }>;
  readonly #flights = new SingleFlight<T>();
  readonly #lifetime: (value: T) => number;

  constructor({ max = 1000, lifetime }: RenewableOptions<T>) {
    this.#known = new LRUCache({ max });
    this.#lifetime = typeof lifetime === 'function' ? lifetime : () => lifetime;
  }

  /** The value if it is known and still good, without a lookup. */
  peek(key: string): T | undefined {
    return this.#known.get(key)?.value;
  }

  /**
   * The value of `key`, looked up where it is not known or has ended. A lookup that fails is not remembered.
   *
   * @throws what `lookup` throws, or the error of `signal` when it fires first.
   */
  async get(key: string, lookup: Lookup<T>, signal?: AbortSignal): Promise<T> {
    const known = this.#known.get(key);
    return known === undefined ? this.#join(key, lookup, signal) : known.value;
  }

  /** As {@link get}, where `refused` is no longer good: another value that is known by now is returned without a lookup. */
  async replace(key: string, refused: T | undefined, lookup: Lookup<T>, signal?: AbortSignal): Promise<T> {
    const known = this.#known.get(key);
    if (known !== undefined && known.value !== refused) return known.value;
    this.#known.delete(key);
    return this.#join(key, lookup, signal);
  }

  /** Makes the next caller look up anew, one key or every. Lookups under way are not remembered. */
  forget(key?: string): void {
    this.#flights.forget(key);
    if (key === undefined) this.#known.clear();
    else this.#known.delete(key);
  }

  #join(key: string, lookup: Lookup<T>, signal?: AbortSignal): Promise<T> {
    const look = async (flight: SharedCall) => {
      const value = await lookup(flight.signal);
      if (flight.isCurrent()) this.#keep(key, value);
      return value;
    };
    return this.#flights.join(key, look, signal);
  }

  #keep(key: string, value: T): void {
    const lifetime = this.#lifetime(value);
    // lru-cache takes a time to live of 0 for none.
    if (lifetime <= 0) return;
    this.#known.set(key, { value }, Number.isFinite(lifetime) ? { ttl: Math.ceil(lifetime) } : {});
  }
}
