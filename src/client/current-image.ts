/**
 * Uses an image as it is remembered. The remembered image may be outdated: the service has replaced it, or another version of
 * the driver wrote its handle. Drivers report both as STALE. Then the service is asked once what the name stands for now. If
 * that is the same revision, the work is done again with the new handle. If it is another one, STALE stays the outcome, and
 * `noteChange` gets the answer, so that whoever opens the name again gets the new revision.
 */
import type { Backend } from '../backends/backend.ts';
import { isError, type SregistryError } from '../base/errors.ts';
import { type SharedCall, SingleFlight } from '../base/single-flight.ts';
import type { RemoteImage } from '../image/remote.ts';

export class CurrentImage {
  readonly #backend: Pick<Backend, 'resolve'>;
  readonly #noteChange: (image: RemoteImage | undefined) => void;
  readonly #renewals = new SingleFlight<RemoteImage>();
  #image: RemoteImage;

  constructor(
    backend: Pick<Backend, 'resolve'>,
    image: RemoteImage,
    noteChange: (image: RemoteImage | undefined) => void,
  ) {
    this.#backend = backend;
    this.#image = image;
    this.#noteChange = noteChange;
  }

  /** Runs `act` with the image, and once more with its new handle if the remembered one is STALE. */
  async use<T>(act: (image: RemoteImage) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const image = this.#image;
    try {
      return await act(image);
    } catch (error) {
      if (!isError(error, 'STALE')) throw error;
      return act(this.#image === image ? await this.#renew(error, signal) : this.#image);
    }
  }

  #renew(stale: SregistryError, signal: AbortSignal | undefined): Promise<RemoteImage> {
    const { name, revision, size } = this.#image;
    const ask = async (call: SharedCall) => {
      const current = await this.#backend.resolve(name, call.signal);
      this.#noteChange(current);
      // The size of an image in layers is an estimate at first.
      const isSameSize = current?.layered !== undefined || current?.size === size;
      if (current?.revision !== revision || !isSameSize) throw stale;
      this.#image = current;
      return current;
    };
    return this.#renewals.join('', ask, signal);
  }
}
