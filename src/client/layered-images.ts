/**
 * Containers in layers as image files: a SquashFS described over the layers that the cache holds (docs/layers.md). An open one
 * has its layers on local disk, so reading it asks no service; layers with a table of contents are fetched as they are read.
 */
import { LRUCache } from 'lru-cache';
import pMap from 'p-map';
import type { Backend, Progress } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { LayerUse } from '../catalog/layer-uses.ts';
import type { State } from '../catalog/state.ts';
import { type Assembly, assembledSource } from '../image/assembled.ts';
import { type Inspection, inspect } from '../image/inspect.ts';
import { describeLayers, describeWithoutLayers } from '../image/layers/describe-layers.ts';
import type { LayerBlob, Layered } from '../image/layers/image.ts';
import { unpackImage } from '../image/layers/packed-image.ts';
import type { ReadBlob } from '../image/layers/spans.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { ByteSource } from '../image/source.ts';
import { BlobReaders } from './blob-readers.ts';
import type { CurrentImage } from './current-image.ts';
import { entriesFor, type Layers } from './layers.ts';
import type { LayerOptions, OpenLayer } from './open-layer.ts';
import { remembered } from './remembered.ts';
import { uriOf } from './uri.ts';

/** Layers fetched at once. */
const PARALLEL = 4;

export type LayeredImage = RemoteImage & { readonly layered: Layered };

/** An open image; closing it lets the cache evict its layers. */
export interface OpenLayered extends ByteSource, AsyncDisposable {
  /** With its true size. */
  readonly image: RemoteImage;
}

export interface OpenLayeredOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of layers that arrived, and their bytes in all; not for those that others fetch. */
  readonly progress?: Progress | undefined;
}

export interface OpenLayersOptions extends OpenLayeredOptions {
  readonly whole?: LayerOptions['whole'];
}

interface Shared {
  readonly source: ByteSource;
  readonly layers: readonly OpenLayer[];
  users: number;
}

export function isLayered(image: RemoteImage): image is LayeredImage {
  return image.layered !== undefined;
}

/** What the catalog remembers of it, so that layers are known by the images that have them. */
export function useOf(backend: Backend, { name, revision, layered }: LayeredImage): LayerUse {
  return { uri: uriOf(backend, name), revision, entries: layered.layers.flatMap(entriesFor) };
}

/** Why an image in layers is never signed: SIF alone has a place for signatures. */
export const NEVER_SIGNED = 'It is in layers in its registry, and layers carry no signature of a container';

/** What the image says of itself, from its configuration alone. */
export function inspectLayered({ layered }: LayeredImage): Promise<Inspection> {
  return inspect(assembledSource(describeWithoutLayers(layered), []));
}

export class LayeredImages {
  readonly #layers: Layers;
  readonly #state: State;
  /** Open images, by revision. */
  readonly #open = new Map<string, Shared>();
  readonly #flights = new SingleFlight<Shared>();
  readonly #readers = new BlobReaders();
  /** Sizes that are known. */
  readonly #sizes = new LRUCache<string, number>({ max: 10_000 });

  constructor(layers: Layers, state: State) {
    this.#layers = layers;
    this.#state = state;
  }

  /** The image with its true size, if that is known. */
  sized<T extends RemoteImage | undefined>(image: T): T {
    if (image?.layered === undefined) return image;
    const size = this.#sizeOf(image);
    return size === undefined ? image : { ...image, size };
  }

  /** Is the size of the image an estimate, as it was never opened? */
  isEstimate(image: RemoteImage): boolean {
    return image.layered !== undefined && this.#sizeOf(image) === undefined;
  }

  #sizeOf({ revision }: RemoteImage): number | undefined {
    const size =
      this.#sizes.get(revision) ?? remembered(this.#state, ({ layers }) => layers.sizeOf(revision));
    if (size !== undefined) this.#sizes.set(revision, size);
    return size;
  }

  /** Bytes of its layers on local disk. */
  cachedBytes({ layered, size }: LayeredImage): number {
    const bytes = layered.layers.reduce((sum, layer) => sum + this.#layers.cachedBytes(layer), 0);
    return Math.min(size, bytes);
  }

  /**
   * Opens an image, after fetching the layers that are absent: all of them are whole and right then, but for those that are read in
   * parts. Images of one revision share what is made of them.
   * @throws {SregistryError} the errors of {@link Layers.open}; NOT_AN_IMAGE or NOT_PRESENTABLE if the layers make no tree.
   */
  async open(
    backend: Backend,
    image: LayeredImage,
    current: CurrentImage,
    options: OpenLayeredOptions = {},
  ): Promise<OpenLayered> {
    const { revision } = image;
    const shared = await this.#share(backend, image, current, options);
    shared.users += 1;
    const withdrawals = image.layered.layers.map((layer, number) => {
      const read = readerOf(backend, current, layer, titleOf(image, number));
      return this.#readers.offer(layer.digest, backend, read);
    });
    const { source } = shared;
    let isOpen = true;
    return {
      ...source,
      image: { ...image, size: source.size },
      [Symbol.asyncDispose]: async () => {
        if (isOpen) shared.users -= 1;
        isOpen = false;
        for (const withdraw of withdrawals) withdraw();
        if (shared.users === 0) await this.#close(revision, shared);
      },
    };
  }

  /** The open image, made if there is none. Counting its user follows at once. */
  async #share(
    backend: Backend,
    image: LayeredImage,
    current: CurrentImage,
    options: OpenLayeredOptions,
  ): Promise<Shared> {
    const describe = (call: SharedCall) =>
      this.#describe(backend, image, current, { ...options, signal: call.signal });
    for (;;) {
      const known = this.#open.get(image.revision);
      if (known !== undefined) return known;
      await this.#flights.join(image.revision, describe, options.signal);
    }
  }

  async #close(revision: string, shared: Shared): Promise<void> {
    if (this.#open.get(revision) === shared) this.#open.delete(revision);
    await Promise.all(shared.layers.map((layer) => layer[Symbol.asyncDispose]()));
  }

  async #describe(
    backend: Backend,
    image: LayeredImage,
    current: CurrentImage,
    { signal, progress }: OpenLayeredOptions & { signal: AbortSignal },
  ): Promise<Shared> {
    const { layered, revision } = image;
    const layers = await this.openLayers(backend, image, current, { signal, progress });
    try {
      const assembly =
        (await this.#kept(revision, layers)) ?? (await this.#make(revision, layered, layers, signal));
      const source = assembledSource(assembly, layers);
      this.#sizes.set(revision, source.size);
      signal.throwIfAborted();
      const shared: Shared = { source, layers, users: 0 };
      this.#open.set(revision, shared);
      return shared;
    } catch (error) {
      await Promise.all(layers.map((layer) => layer[Symbol.asyncDispose]()));
      throw error;
    }
  }

  /** The image as it was described before; undefined if that is not known, or was over other data of the layers. */
  async #kept(revision: string, layers: readonly OpenLayer[]): Promise<Assembly | undefined> {
    const packed = remembered(this.#state, (state) => state.layers.imageOf(revision));
    if (packed === undefined) return undefined;
    // What is damaged is made again.
    const kept = await unpackImage(packed).catch(() => undefined);
    return kept !== undefined && isOver(kept, layers) ? kept : undefined;
  }

  async #make(
    revision: string,
    { architecture, config, created }: Layered,
    layers: readonly OpenLayer[],
    signal: AbortSignal,
  ): Promise<Assembly> {
    const read = async (layer: OpenLayer) => ({ size: layer.size, entries: await layer.entries() });
    const work = {
      container: { architecture, config, created },
      layers: await Promise.all(layers.map(read)),
    };
    const { size, packed } = await describeLayers(work, signal);
    remembered(this.#state, (state) => state.layers.putImage(revision, size, packed));
    return unpackImage(packed);
  }

  /** Opens the layers of an image as {@link Layers.open}. The caller closes each. */
  async openLayers(
    backend: Backend,
    image: LayeredImage,
    current: CurrentImage,
    { signal, progress, whole }: OpenLayersOptions = {},
  ): Promise<OpenLayer[]> {
    const { layers } = image.layered;
    const total = layers.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    const onBytes = (bytes: number) => {
      done += bytes;
      progress?.(Math.min(done, total), total);
    };
    const opened: OpenLayer[] = [];
    const failed = new AbortController();
    const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
    const open = async (number: number): Promise<void> => {
      const layer = layers[number] as Layered['layers'][number];
      const title = titleOf(image, number);
      const reader = (blob: BlobName) => {
        const own = readerOf(backend, current, blob, title);
        return this.#readers.withOthers(blob.digest, backend, own);
      };
      const options = { signal: either, onBytes, whole };
      const read = reader(layer);
      const readZtoc = layer.ztoc && reader(layer.ztoc);
      opened[number] = await this.#layers.open({ ...layer, title, read, readZtoc }, options);
    };
    const stop = (error: unknown) => failed.abort(error);
    // Those that come at a time reserve more room than they need.
    const crowded: number[] = [];
    const openBesideOthers = (number: number) =>
      open(number).catch((error: unknown) =>
        isError(error, 'NO_SPACE') ? void crowded.push(number) : stop(error),
      );
    await pMap(layers.keys(), openBesideOthers, { concurrency: PARALLEL });
    for (const number of crowded) if (!failed.signal.aborted) await open(number).catch(stop);
    if (!failed.signal.aborted) {
      remembered(this.#state, ({ layerUses }) => layerUses.note(useOf(backend, image)));
      return opened;
    }
    await Promise.all(opened.map((layer) => layer?.[Symbol.asyncDispose]()));
    throw failed.signal.reason;
  }
}

type BlobName = Pick<LayerBlob, 'digest' | 'size'>;

/** Names a layer in messages. */
function titleOf({ name, layered }: LayeredImage, number: number): string {
  return `${formatImageName(name)}, layer ${number + 1} of ${layered.layers.length}`;
}

/** Reads a blob of a layer of this image. @param title the layer's. */
function readerOf(backend: Backend, current: CurrentImage, blob: BlobName, title: string): ReadBlob {
  const { readBlob } = backend;
  if (readBlob === undefined)
    throw new SregistryError('INTERNAL', `${backend.name} has an image in layers and cannot read them`);
  return (offset, length, stop) => {
    let answers = 0;
    const readOnce = (known: RemoteImage) =>
      readBlob.call(backend, known, blob, offset, length, stop).catch((error: unknown) => {
        answers += 1;
        // The image is what it was, so another open would not find the layer either.
        throw answers > 1 && isError(error, 'STALE') ? missing(title, blob, error) : error;
      });
    return current.use(readOnce, stop);
  };
}

/** Was the image described over layers of these sizes? */
function isOver({ pieces }: Assembly, layers: readonly OpenLayer[]): boolean {
  const whole = new Map<number, number>();
  for (const piece of pieces)
    if ('source' in piece && !whole.has(piece.source)) whole.set(piece.source, piece.offset + piece.length);
  return whole.size <= layers.length && layers.every(({ size }, number) => (whole.get(number) ?? 0) === size);
}

/** The error for a layer that the registry does not have, although the image has not changed. */
function missing(title: string, { digest, size }: BlobName, cause: unknown): SregistryError {
  return new SregistryError('SERVICE', `The registry does not have ${title}: ${digest} of ${size} bytes`, {
    hint: 'The image is incomplete in its registry; ask its owner to push it again',
    cause,
  });
}
