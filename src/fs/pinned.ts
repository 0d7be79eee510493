/**
 * Which revision each image is open at for reading. All paths of an image share it: an image that is open stays at its
 * revision for every further reader, so that the kernel, which keeps pages by path, never mixes two.
 */
import type { RemoteImage } from '../image/remote.ts';

/** One revision, held by a reader. */
export interface Pin {
  readonly image: RemoteImage;
  /** One reader fewer. */
  release(): void;
}

interface Held {
  /** Where it is found; changes when the image is renamed. */
  key: string;
  /** What further readers get. */
  image: RemoteImage;
  /** Path under which each reader opened it. */
  readonly readers: string[];
}

export class PinnedRevisions {
  readonly #held = new Map<string, Held>();

  get(key: string): RemoteImage | undefined {
    return this.#held.get(key)?.image;
  }

  /** One more reader, under `path`: of `image`, or of the revision that is held already. */
  pin(key: string, image: RemoteImage, path: string): Pin {
    const held = this.#held.get(key) ?? { key, image, readers: [] };
    held.readers.push(path);
    this.#held.set(key, held);
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      held.readers.splice(held.readers.indexOf(path), 1);
      if (held.readers.length === 0 && this.#held.get(held.key) === held) this.#held.delete(held.key);
    };
    return { image: held.image, release };
  }

  /** Is the image open under another path than this one? */
  isHeldElsewhere(key: string, path: string): boolean {
    return this.#held.get(key)?.readers.some((reader) => reader !== path) ?? false;
  }

  /** The name stands for something else from now on. Its readers keep what they hold. */
  detach(key: string): void {
    this.#held.delete(key);
  }

  /** The image got another name, under which further readers get `image`, of the same bytes. */
  move(from: string, to: string, image: RemoteImage): void {
    const held = this.#held.get(from);
    if (held === undefined) return;
    held.key = to;
    held.image = image;
    this.#held.delete(from);
    this.#held.set(to, held);
  }
}
