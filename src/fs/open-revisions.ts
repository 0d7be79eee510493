/**
 * The revision at which each image is open for reading. All paths of an image share it. An open image stays at its revision
 * for every further reader, so that the kernel, which keeps pages by path, never mixes two revisions.
 */
import type { RemoteImage } from '../image/remote.ts';

/** One revision, held by a reader. */
export interface RevisionReference {
  readonly image: RemoteImage;
  /** Ends this reader. */
  release(): void;
}

/** An image's key, and the path that spells it. */
export interface Name {
  readonly key: string;
  readonly path: string;
}

interface Reader {
  /** Path under which it was opened; follows renames. */
  path: string;
}

interface Held {
  /** The image as the registry names it; changes when it is renamed. */
  key: string;
  /** The revision that further readers get. */
  image: RemoteImage;
  readonly readers: Set<Reader>;
}

export class OpenRevisions {
  readonly #held = new Map<string, Held>();

  get(key: string): RemoteImage | undefined {
    return this.#held.get(key)?.image;
  }

  /** Adds a reader under `path`. It gets the revision that is already held, else `image`. */
  acquire(key: string, image: RemoteImage, path: string): RevisionReference {
    const held = this.#held.get(key) ?? { key, image, readers: new Set() };
    const reader = { path };
    held.readers.add(reader);
    this.#held.set(key, held);
    const release = () => {
      held.readers.delete(reader);
      if (held.readers.size === 0 && this.#held.get(held.key) === held) this.#held.delete(held.key);
    };
    return { image: held.image, release };
  }

  /** Is the image open under a path other than this one? */
  isHeldElsewhere(key: string, path: string): boolean {
    return [...(this.#held.get(key)?.readers ?? [])].some((reader) => reader.path !== path);
  }

  /** Notes that the name now stands for something else. Its readers keep their revision. */
  detach(key: string): void {
    this.#held.delete(key);
  }

  /** Follows a rename: further readers under the new path get `image`, of the same bytes. Readers under `from` follow. */
  move(from: Name, to: Name, image: RemoteImage): void {
    const held = this.#held.get(from.key);
    if (held === undefined) return;
    held.key = to.key;
    held.image = image;
    for (const reader of held.readers) if (reader.path === from.path) reader.path = to.path;
    this.#held.delete(from.key);
    this.#held.set(to.key, held);
  }
}
