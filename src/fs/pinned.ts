/**
 * Which revision each image is open at for reading. All paths of an image share it: an image that is open stays at its
 * revision for every further reader, so that the kernel, which keeps pages by path, never mixes two.
 */
import type { RemoteImage } from '../image/remote.ts';

/** One revision, held by its readers. */
export interface Pin {
  readonly image: RemoteImage;
  /** One reader fewer. */
  release(): void;
}

interface Held {
  readonly image: RemoteImage;
  readers: number;
}

export class PinnedRevisions {
  readonly #held = new Map<string, Held>();

  get(key: string): RemoteImage | undefined {
    return this.#held.get(key)?.image;
  }

  /** One more reader: of `image`, or of the revision that is held already. */
  pin(key: string, image: RemoteImage): Pin {
    const held = this.#held.get(key) ?? { image, readers: 0 };
    held.readers += 1;
    this.#held.set(key, held);
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      held.readers -= 1;
      if (held.readers === 0 && this.#held.get(key) === held) this.#held.delete(key);
    };
    return { image: held.image, release };
  }

  /** The name stands for something else from now on. Its readers keep what they hold. */
  detach(key: string): void {
    this.#held.delete(key);
  }
}
