/** A registry in memory: tags that can be moved by others, and be away. Every revision stays readable, as in an OCI registry. */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Backend, ListEntry, RemoteImage } from '../../src/backends/backend.ts';
import { SregistryError } from '../../src/base/errors.ts';
import type { ImageName } from '../../src/image/name.ts';
import { formatImageName } from '../../src/image/names.ts';

export class MemoryRegistry {
  isAway = false;
  readonly tags = new Map<string, RemoteImage>();
  readonly #revisions = new Map<string, Buffer>();

  /** What a tag holds. */
  content(name: ImageName): Buffer | undefined {
    const image = this.tags.get(formatImageName(name));
    return image && this.#revisions.get(image.revision);
  }

  put(name: ImageName, bytes: Buffer): RemoteImage {
    const revision = `r${this.#revisions.size}`;
    const image = { name, size: bytes.length, revision, handle: {} };
    this.#revisions.set(revision, bytes);
    this.tags.set(formatImageName(name), image);
    return image;
  }

  backend(name: string): Backend {
    return {
      name,
      driver: 'memory',
      target: 'memory:',
      defaultCollection: '',
      resolve: async (image) => {
        this.#answer();
        return this.tags.get(formatImageName(image));
      },
      read: async ({ revision }, offset, length) => {
        this.#answer();
        const bytes = this.#revisions.get(revision) as Buffer;
        return Readable.from([bytes.subarray(offset, offset + length)]);
      },
      list: (collection) => this.#list(collection),
      push: async ({ path }, image) => {
        this.#answer();
        return this.put(image, await readFile(path));
      },
      copy: async ({ revision }, to) => {
        this.#answer();
        return this.put(to, this.#revisions.get(revision) as Buffer);
      },
      remove: async (image) => {
        this.#answer();
        const key = formatImageName(image.name);
        if (this.tags.get(key)?.revision === image.revision) this.tags.delete(key);
      },
    };
  }

  async *#list(collection: string): AsyncGenerator<ListEntry> {
    this.#answer();
    for (const remote of this.tags.values()) {
      if (remote.name.collection === collection) yield { kind: 'image', name: remote.name, remote };
    }
  }

  #answer(): void {
    if (this.isAway) throw new SregistryError('UNREACHABLE', 'The registry is away');
  }
}
