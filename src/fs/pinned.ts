/** Which revision each path is open at. */
import type { RemoteImage } from '../image/remote.ts';

interface Pin {
  readonly image: RemoteImage;
  handles: number;
}

export class PinnedRevisions {
  readonly #pins = new Map<string, Pin>();

  get(path: string): RemoteImage | undefined {
    return this.#pins.get(path)?.image;
  }

  /** One more handle on the path; its revision counts until the last of them is closed. */
  pin(path: string, image: RemoteImage | undefined): void {
    if (image === undefined) return;
    const pin = this.#pins.get(path) ?? { image, handles: 0 };
    pin.handles += 1;
    this.#pins.set(path, pin);
  }

  unpin(path: string, image: RemoteImage | undefined): void {
    const pin = this.#pins.get(path);
    if (image === undefined || pin === undefined) return;
    pin.handles -= 1;
    if (pin.handles === 0) this.#pins.delete(path);
  }
}
