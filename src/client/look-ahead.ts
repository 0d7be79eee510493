/**
 * Resolves the images of a listing ahead of whoever looks at them one after the other, as `ls -l` does: where a listing tells only names,
 * each look is a request, and the requests would wait for each other. One look alone starts nothing, and a backend must allow it.
 */
import type { Backend } from '../backends/backend.ts';
import type { Listing } from '../catalog/listings.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { ResolvedImages } from './resolved-images.ts';

/** Requests under way at most, beside the one that somebody waits for. */
const AHEAD = 16;
/** Milliseconds until a request that nobody waits for ends. */
const DEADLINE = 30_000;

interface Walk {
  /** Position of each image, by its name. */
  readonly positions: ReadonlyMap<string, number>;
  readonly names: readonly ImageName[];
  /** Where the last look was. */
  at: number;
  /** Images before this position are resolved, or being resolved. */
  reached: number;
  pending: number;
}

export class LookAhead {
  readonly #images: ResolvedImages;
  readonly #walks = new WeakMap<Listing, Walk>();
  readonly #ended = new AbortController();
  readonly #pending = new Set<Promise<void>>();

  constructor(images: ResolvedImages) {
    this.#images = images;
  }

  /** Ends the requests under way, and waits for their end. */
  async close(): Promise<void> {
    this.#ended.abort();
    await Promise.all(this.#pending);
  }

  /** Notes a look at an image of a listing. */
  note(backend: Backend, listing: Listing, name: ImageName): void {
    if (backend.resolvesAhead !== true || this.#ended.signal.aborted) return;
    const walk = this.#walks.get(listing) ?? walkThrough(listing);
    this.#walks.set(listing, walk);
    const position = walk.positions.get(formatImageName(name));
    if (position === undefined) return;
    const isNext = position === walk.at + 1;
    walk.at = position;
    if (!isNext || position === 0) return;
    walk.reached = Math.max(walk.reached, position + 1);
    this.#goOn(backend, walk);
  }

  #goOn(backend: Backend, walk: Walk): void {
    while (walk.pending < AHEAD && walk.reached <= walk.at + AHEAD) {
      const name = walk.names[walk.reached];
      if (name === undefined) return;
      walk.reached += 1;
      walk.pending += 1;
      const pending = this.#resolve(backend, name).finally(() => {
        walk.pending -= 1;
        this.#pending.delete(pending);
      });
      this.#pending.add(pending);
    }
  }

  async #resolve(backend: Backend, name: ImageName): Promise<void> {
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(DEADLINE)]);
    // Whoever looks at the image gets the error.
    await this.#images.resolve(backend, name, signal).catch(() => {});
  }
}

function walkThrough({ entries }: Listing): Walk {
  const names = entries.flatMap((entry) => (entry.kind === 'image' ? entry.name : []));
  const positions = new Map(names.map((name, index) => [formatImageName(name), index]));
  return { positions, names, at: -2, reached: 0, pending: 0 };
}
