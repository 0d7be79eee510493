/**
 * Answers questions by asking a service. Callers with the same question at the same time share one request. If the service
 * cannot be reached, the last known answer stands in (stale-if-error, RFC 5861), and the same question is not asked again for a
 * moment.
 */
import { LRUCache } from 'lru-cache';
import { isError, type SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { Health } from './health.ts';

/** Milliseconds for which a service that failed is not asked the same question again. */
const FAILURE_TTL = 2_000;

export interface Question<T> {
  /** Name of the backend. */
  readonly backend: string;
  /** Equal questions have equal ids. An id begins with the backend's identity and a line break. */
  readonly id: string;
  /** The last known answer. */
  readonly known: T | undefined;
  ask(call: SharedCall): Promise<T>;
  /** The caller's own. */
  readonly signal: AbortSignal | undefined;
}

export class StaleIfError<T> {
  readonly #health: Health | undefined;
  readonly #calls = new SingleFlight<T>();
  readonly #failures = new LRUCache<string, SregistryError>({ max: 10_000, ttl: FAILURE_TTL });

  constructor(health?: Health) {
    this.#health = health;
  }

  /** @throws {SregistryError} what `ask` throws, if the service answered or no answer is known. */
  async answer({ backend, id, known, ask, signal }: Question<T>): Promise<T> {
    const recent = this.#failures.get(id);
    if (recent !== undefined) {
      if (known !== undefined) return known;
      throw recent;
    }
    const askAndNote = async (call: SharedCall) => {
      try {
        const answer = await ask(call);
        this.#health?.answered(backend);
        return answer;
      } catch (error) {
        if (isUnavailable(error)) this.#health?.failed(backend, error);
        else if (isError(error, 'NOT_FOUND', 'UNAUTHORIZED', 'FORBIDDEN')) this.#health?.answered(backend);
        if (isUnavailable(error) && call.isCurrent()) this.#failures.set(id, error);
        throw error;
      }
    };
    try {
      return await this.#calls.join(id, askAndNote, signal);
    } catch (error) {
      if (known !== undefined && isUnavailable(error)) return known;
      throw error;
    }
  }

  /** Drops the answer of a request under way, as the caller knows a newer one. */
  supersede(id: string): void {
    this.#calls.forget(id);
  }

  /** Asks anew from now on, even a service that failed just now. */
  retry(id: string): void {
    this.#calls.forget(id);
    this.#failures.delete(id);
  }

  /** {@link retry} for every question to the backend of that identity. */
  forget(identity: string): void {
    this.#calls.forget();
    for (const id of this.#failures.keys()) if (id.startsWith(`${identity}\n`)) this.#failures.delete(id);
  }
}

/** Did the service not answer? That says nothing about the image. */
function isUnavailable(error: unknown): error is SregistryError {
  return isError(error, 'UNREACHABLE', 'TIMED_OUT', 'RATE_LIMITED', 'SERVICE');
}
