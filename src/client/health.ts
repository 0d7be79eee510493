/** Which services do not answer, since when and why. Known from the questions that were asked anyway; asks none itself. */
import { describeError, type SregistryError } from '../base/errors.ts';

export interface Unreachable {
  /** Name of the backend. */
  readonly backend: string;
  /** When it first failed after its last answer; ISO 8601. */
  readonly since: string;
  /** Of the last failure. */
  readonly error: string;
}

export class Health {
  readonly #failing = new Map<string, Unreachable>();

  /** The service answered, if only that something does not exist. */
  answered(backend: string): void {
    this.#failing.delete(backend);
  }

  failed(backend: string, error: SregistryError): void {
    const since = this.#failing.get(backend)?.since ?? new Date().toISOString();
    this.#failing.set(backend, { backend, since, error: describeError(error) });
  }

  get unreachable(): Unreachable[] {
    return [...this.#failing.values()];
  }
}
