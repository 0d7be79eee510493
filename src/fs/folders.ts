/** Reads folders: the names in them, and which of those are files. */
import { LRUCache } from 'lru-cache';
import { parseFileName } from '../image/names.ts';
import { type Lookup, notFound } from './lookup.ts';
import type { Staging } from './staging.ts';
import { isShortEnough, parsePath } from './tree.ts';

/** Milliseconds after which the names of an opened folder are read again. A program reads a folder right after it opens it. */
const OPENED = 1_000;

export class Folders {
  readonly #lookup: Lookup;
  readonly #staging: Staging;
  /** What folders held when they were opened, until they are read. */
  readonly #opened = new LRUCache<string, string[]>({ max: 16, ttl: OPENED, ttlAutopurge: true });

  constructor(lookup: Lookup, staging: Staging) {
    this.#lookup = lookup;
    this.#staging = staging;
  }

  /** Throws what reading the folder throws. The next {@link read} returns what was read for that. */
  async open(path: string): Promise<void> {
    const parsed = parsePath(path);
    if (parsed?.kind !== 'folder' || parsed.collection === '') return;
    this.#opened.delete(path);
    this.#opened.set(path, await this.#names(path));
  }

  /** The names in a folder, each once. */
  async read(path: string): Promise<string[]> {
    const opened = this.#opened.get(path);
    this.#opened.delete(path);
    return opened ?? this.#names(path);
  }

  /** Which of the names in a folder are files; the others are folders. */
  filesIn(path: string): (name: string) => boolean {
    const staged = new Set(this.#staging.list(path));
    const isTop = path === '/';
    return (name) => !isTop && (staged.has(name) || parseFileName(name) !== undefined);
  }

  async #names(path: string): Promise<string[]> {
    const parsed = parsePath(path);
    if (parsed?.kind === 'root') return [...this.#lookup.backendNames];
    if (parsed?.kind !== 'folder') throw notFound(path);
    const staged = this.#staging.list(path);
    const names = await this.#lookup.names(path, parsed, staged.length > 0, this.#lookup.signal());
    return [...new Set([...staged, ...names])].filter(isShortEnough);
  }
}
