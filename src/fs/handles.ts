/** Open files: what a file handle of the mount stands for, and reading from it. */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { SregistryError } from '../base/errors.ts';
import { fileRevision, fileStamp } from '../base/files.ts';
import type { CachedImage, Signal } from '../cache/image.ts';
import type { ReadAhead } from '../cache/read-ahead.ts';
import type { OpenLayered } from '../client/layered-images.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { FileFacts } from './attributes.ts';
import type { StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';

export interface OpenFile {
  /** Path it was opened under. */
  readonly path: string;
  /** The revision it shows; undefined for a file that is not an image of a registry. */
  readonly image?: RemoteImage;
  /** What `stat` shows of it, unless it is a file being written. */
  readonly facts?: FileFacts;
  /** Set if it was opened on a file being written. */
  readonly staged?: StagedFile;
  /** Was it opened for writing? */
  readonly writes?: boolean;
  /** Reads up to `length` bytes at `offset` into `target`; fewer only at the end. */
  read(target: Uint8Array, offset: number, length: number, signal?: Signal): Promise<number>;
  /**
   * As {@link read}, without a promise where nothing has to be waited for. Returns false where that is not so. Calls `done` with the
   * number of bytes, or with undefined if {@link read} has to tell why there are none.
   */
  readKnown?(
    target: Uint8Array,
    offset: number,
    length: number,
    done: (count: number | undefined) => void,
  ): boolean;
  /**
   * Brings all bytes of an image to local disk. Resolves to a text that changes when the bytes change. `signal` limits each
   * step, not the whole: a slow service has time, a stalled one does not.
   */
  settle?(signal: () => AbortSignal): Promise<string>;
  close(): Promise<void>;
}

/** An image that comes through the cache. */
export class CachedFile implements OpenFile {
  readonly path: string;
  readonly image: RemoteImage;
  readonly #cached: CachedImage;
  readonly #ahead: ReadAhead;
  readonly #onClose: (cached: CachedImage) => Promise<void>;

  constructor(
    path: string,
    image: RemoteImage,
    cached: CachedImage,
    onClose: (cached: CachedImage) => Promise<void>,
  ) {
    this.path = path;
    this.image = image;
    this.#cached = cached;
    this.#ahead = cached.readAhead();
    this.#onClose = onClose;
  }

  get facts(): FileFacts {
    return { ...imageFacts(this.image, this.#cached.cachedBytes), copy: this.#cached.copy };
  }

  read(target: Uint8Array, offset: number, length: number, signal?: Signal): Promise<number> {
    return this.#cached.read(target, offset, length, this.#ahead, signal);
  }

  readKnown(
    target: Uint8Array,
    offset: number,
    length: number,
    done: (count: number | undefined) => void,
  ): boolean {
    return this.#cached.readKnown(target, offset, length, this.#ahead, done);
  }

  async settle(signal: () => AbortSignal): Promise<string> {
    while (await this.#cached.completeStep(signal()));
    await this.#cached.fetchAll();
    return `${this.#cached.key} ${this.#cached.stamp()}`;
  }

  close(): Promise<void> {
    return this.#onClose(this.#cached);
  }
}

/** An image made of layers that the cache holds. */
export class LayeredFile implements OpenFile {
  readonly path: string;
  readonly image: RemoteImage;
  readonly #opened: OpenLayered;

  constructor(path: string, opened: OpenLayered) {
    this.path = path;
    this.image = opened.image;
    this.#opened = opened;
  }

  get facts(): FileFacts {
    return imageFacts(this.image, this.image.size);
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    const bytes = await this.#opened.read(offset, length);
    target.set(bytes);
    return bytes.length;
  }

  async close(): Promise<void> {
    await this.#opened[Symbol.asyncDispose]();
  }
}

/**
 * An image in a directory of this machine, read in place as long as nobody changes it there. Its readers keep it when it is
 * renamed, replaced or removed. After its bytes were verified ({@link settle}), such a change ends reading too: the kernel does
 * not distinguish it from changed bytes whose time was set back.
 */
export class LocalFile implements OpenFile {
  readonly path: string;
  readonly image: RemoteImage;
  readonly #handle: FileHandle;
  /** Stamp of the file when its bytes were verified. */
  #stamp: string | undefined;

  /** `handle` is open on that revision, as a backend's `openLocal` gives it. */
  constructor(path: string, image: RemoteImage, handle: FileHandle) {
    this.path = path;
    this.image = image;
    this.#handle = handle;
  }

  get facts(): FileFacts {
    return imageFacts(this.image, this.image.size);
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(target, 0, length, offset);
    const stats = await this.#handle.stat({ bigint: true });
    if (fileRevision(stats) !== this.image.revision) throw changed(this.path);
    if (this.#stamp !== undefined && fileStamp(stats) !== this.#stamp) throw changed(this.path);
    return bytesRead;
  }

  async settle(): Promise<string> {
    this.#stamp ??= fileStamp(await this.#handle.stat({ bigint: true }));
    return `${this.path} ${this.#stamp}`;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** What `stat` shows of a revision, of which `local` bytes are on local disk. */
export function imageFacts(
  { size, revision, modified, unpresentable }: RemoteImage,
  local: number,
): FileFacts {
  const access = unpresentable === undefined ? undefined : 'nobody';
  return { size, content: revision, changes: 0, modified, local, access };
}

/** What `stat` shows of a text about an image. */
export function textFacts(text: Buffer, { modified }: RemoteImage): FileFacts {
  return { size: text.length, content: `text ${crc32(text)}`, changes: 0, modified };
}

function changed(path: string): SregistryError {
  return new SregistryError('STALE', `${path} was changed where it lies since it was opened`, {
    hint: 'Open it again; write images under another name and rename them, so that readers keep the old one',
  });
}

/** Bytes made when the file was opened. */
export class TextFile implements OpenFile {
  readonly path: string;
  readonly facts: FileFacts;
  readonly #bytes: Buffer;

  /** `image`: what the text tells about. */
  constructor(path: string, bytes: Buffer, image: RemoteImage) {
    this.path = path;
    this.facts = textFacts(bytes, image);
    this.#bytes = bytes;
  }

  async read(target: Uint8Array, offset: number, length: number): Promise<number> {
    const part = this.#bytes.subarray(offset, offset + length);
    target.set(part);
    return part.length;
  }

  async close(): Promise<void> {}
}

/** A file being written, opened for writing, or for reading what is there so far. */
export class StagedHandle implements OpenFile {
  readonly path: string;
  readonly staged: StagedFile;
  readonly writes: boolean;
  readonly #staging: Staging;
  /** Was it opened for reading when the file was what the registry has? */
  readonly #isPublished: boolean;

  constructor(path: string, staged: StagedFile, staging: Staging, writes: boolean) {
    this.path = path;
    this.staged = staged;
    this.writes = writes;
    this.#staging = staging;
    this.#isPublished = !writes && staged.isInRegistry;
    staged.handles += 1;
    if (writes) staged.openings += 1;
    if (this.#isPublished) staged.publishedReaders += 1;
  }

  read(target: Uint8Array, offset: number, length: number): Promise<number> {
    return this.#staging.read(this.staged, target, offset, length);
  }

  close(): Promise<void> {
    if (this.#isPublished) this.staged.publishedReaders -= 1;
    return this.#staging.release(this.staged);
  }
}
