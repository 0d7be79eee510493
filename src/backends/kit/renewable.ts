/**
 * A cache of values that expire: logins, tokens, links, lists. At most one lookup per key runs at a time, however many callers wait for
 * it, and each caller waits with its own signal. A value that the service refused is replaced once: later callers with the same
 * refused value get the new one.
 */
import { LRUCache } from 'lru-cache';
import { type SharedCall, SingleFlight } from '../../base/single-flight.ts';

export interface RenewableOptions<T> {
  /** Maximum number of keys; the least recently used is dropped first. Default 1000. */
  readonly max?: number | undefined;
  /** Milliseconds for which a value is used; Infinity to use it until it is refused. */
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

  /** The value if it is known and has not expired, without a lookup. */
  peek(key: string): T | undefined {
    return this.#known.get(key)?.value;
  }

  /**
   * The value of `key`; looks it up if it is unknown or expired. A failed lookup is not remembered.
   *
   * @throws what `lookup` throws, or the error of `signal` if that fires first.
   */
  async get(key: string, lookup: Lookup<T>, signal?: AbortSignal): Promise<T> {
    const known = this.#known.get(key);
    return known === undefined ? this.#join(key, lookup, signal) : known.value;
  }

  /** A value other than `refused`: the known value if it differs, else a new lookup. Otherwise like {@link get}. */
  async replace(key: string, refused: T | undefined, lookup: Lookup<T>, signal?: AbortSignal): Promise<T> {
    const known = this.#known.get(key);
    if (known !== undefined && known.value !== refused) return known.value;
    this.#known.delete(key);
    return this.#join(key, lookup, signal);
  }

  /** Forgets one key, or all. The results of running lookups are not remembered either. */
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
    // lru-cache would keep a value with a ttl of 0 for ever.
    if (lifetime <= 0) return;
    this.#known.set(key, { value }, Number.isFinite(lifetime) ? { ttl: Math.ceil(lifetime) } : {});
  }
}
