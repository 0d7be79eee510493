/**
 * The cache of images: what each backend answered for a name (an image, or that it does not exist), in memory and in the catalog.
 */
import { LRUCache } from 'lru-cache';
import type { Backend } from '../backends/backend.ts';
import type { SharedCall } from '../base/single-flight.ts';
import type { Answer } from '../catalog/remotes.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { identityOf, isLocal } from './identity.ts';
import type { MetadataOptions } from './metadata-options.ts';
import { remembered } from './remembered.ts';
import { StaleIfError } from './stale-if-error.ts';

/** Milliseconds for which "does not exist" is trusted. Short, as someone may be about to push the image. */
const ABSENT_TTL = 2_000;

export class ResolvedImages {
  readonly #options: MetadataOptions;
  readonly #service: StaleIfError<RemoteImage | undefined>;
  readonly #memory = new LRUCache<string, Answer>({ max: 50_000 });

  constructor(options: MetadataOptions) {
    this.#service = new StaleIfError(options.health);
    this.#options = options;
  }

  /** The image of a name; undefined if the service says that it does not exist. */
  async resolve(backend: Backend, name: ImageName, signal?: AbortSignal): Promise<RemoteImage | undefined> {
    if (isLocal(backend)) return backend.resolve(name, signal);
    const { offline } = this.#options;
    const known = this.#known(backend, name);
    if (known !== undefined && (offline || this.#isFresh(known))) return known.image;
    if (offline) return undefined;
    const ask = async (call: SharedCall) => {
      const image = await backend.resolve(name, call.signal);
      if (call.isCurrent()) this.put(backend, name, image);
      return image;
    };
    return this.#service.answer({
      backend: backend.name,
      id: idOf(backend, name),
      known: known?.image,
      ask,
      signal,
    });
  }

  /** Is the answer known in memory, and good? */
  has(backend: Backend, name: ImageName): boolean {
    const known = this.#memory.get(idOf(backend, name));
    return known !== undefined && this.#isFresh(known);
  }

  /** Notes what a name stands for now, for instance after a push or a removal. */
  put(backend: Backend, name: ImageName, image: RemoteImage | undefined): void {
    if (isLocal(backend)) return;
    const id = idOf(backend, name);
    const answer = { image, fetchedAt: Date.now() };
    this.#service.supersede(id);
    this.#memory.set(id, answer);
    remembered(this.#options.state, ({ remotes }) =>
      remotes.put(identityOf(backend), formatImageName(name), answer),
    );
  }

  /** Forgets every answer of a backend. */
  forget(backend: Backend): void {
    const identity = identityOf(backend);
    for (const id of this.#memory.keys()) if (id.startsWith(`${identity}\n`)) this.#memory.delete(id);
    this.#service.forget(identity);
    remembered(this.#options.state, ({ remotes }) => remotes.forget(identity));
  }

  #known(backend: Backend, name: ImageName): Answer | undefined {
    const id = idOf(backend, name);
    const known =
      this.#memory.get(id) ??
      remembered(this.#options.state, ({ remotes }) =>
        remotes.get(identityOf(backend), formatImageName(name)),
      );
    if (known !== undefined) this.#memory.set(id, known);
    return known;
  }

  #isFresh({ image, fetchedAt }: Answer): boolean {
    return Date.now() - fetchedAt < (image === undefined ? ABSENT_TTL : this.#options.ttl);
  }
}

function idOf(backend: Backend, name: ImageName): string {
  return `${identityOf(backend)}\n${formatImageName(name)}`;
}
