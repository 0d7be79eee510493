import type { ImageName } from '../image/name.ts';
import type { RemoteImage } from '../image/remote.ts';

/** What staging needs from outside: pushing an image, and taking over a file that was pushed. */
export interface Publisher {
  /** `sregistry` URI of a name, for people. */
  uri(backend: string, name: ImageName): string;
  /** Pushes a whole image; resolves to what the registry has then. Throws EXISTS if the mount must not replace what is there. */
  push(request: PushRequest): Promise<RemoteImage>;
  /** Moves a pushed file that nobody has open into the cache, or deletes it if the cache does not take it. */
  settle(backend: string, image: RemoteImage, file: string): Promise<void>;
  /** Frees so many bytes on the disk of the staging folder; false if that is not possible. */
  makeRoom(bytes: number): Promise<boolean>;
}

export interface PushRequest {
  readonly backend: string;
  readonly name: ImageName;
  readonly extension: string;
  readonly file: string;
  readonly size: number;
  /** When the bytes were found whole, in milliseconds since the epoch. */
  readonly closedAt: number;
  readonly progress: (done: number) => void;
  readonly resume: {
    load(): Record<string, unknown> | undefined;
    save(state: Record<string, unknown>): void;
  };
  readonly signal: AbortSignal;
}
