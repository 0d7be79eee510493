/**
 * Why the last operation on a path failed, for `user.sregistry.error`: an errno does not tell enough. A failure is noted on the
 * path and on its folder, since a refused file no longer has its path.
 */
import { LRUCache } from 'lru-cache';
import { describeError, isError } from '../base/errors.ts';
import { parentOf } from './tree.ts';

export class LastErrors {
  /** Called with every note, for the log. */
  onNote: (path: string, text: string) => void = () => {};
  readonly #notes = new LRUCache<string, string>({ max: 10_000 });

  note(path: string, error: unknown): void {
    const hint = isError(error) ? error.hint : undefined;
    const text = hint === undefined ? describeError(error) : `${describeError(error)}. ${hint}`;
    this.#notes.set(path, text);
    this.#notes.set(parentOf(path), text);
    this.onNote(path, text);
  }

  get(path: string): string | undefined {
    return this.#notes.get(path);
  }

  clear(path: string): void {
    this.#notes.delete(path);
  }
}
