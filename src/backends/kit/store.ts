/**
 * The interface of a store: a service that holds files by key. {@link storeBackend} builds a backend from it. An ability that not every
 * service has is an optional property; the backend tests for the property and never for the service.
 *
 * Keys are paths without a leading slash. All methods throw SregistryErrors. Only `stat` returns undefined if the service says that
 * the file does not exist.
 */
import type { Readable } from 'node:stream';
import type { RemoteImage } from '../../image/remote.ts';
import type { Progress, PushState, ShareOptions } from '../backend.ts';
import type { MetadataLimits } from './metadata.ts';

export type Strings = Readonly<Record<string, string>>;

/**
 * A reference to one revision of a file, as the service identifies it (generation, entity tag, version). Plain JSON, for an image's
 * handle. A reference with the key alone means the key's current file.
 */
export interface FileRef extends Record<string, unknown> {
  readonly key: string;
  /** The reference means one kept version. Removing it leaves the key's current file and other versions alone. */
  readonly exact?: boolean;
}

/** A file in a listing. If size, revision or reference is missing, the backend calls `stat` when it needs them. */
export interface ListedFile {
  readonly key: string;
  /** Bytes. */
  readonly size?: number | undefined;
  readonly modified?: Date | undefined;
  /** Changes when the bytes do. */
  readonly revision?: string | undefined;
  readonly ref?: FileRef | undefined;
  /** Metadata stored with the file; undefined if the listing has none, or the service stores none. */
  readonly metadata?: Strings | undefined;
  /** `sha256:<hex>` of the bytes, if the service computes one. */
  readonly digest?: string | undefined;
  /** MD5 of the bytes in hexadecimal, if the service states it. */
  readonly md5?: string | undefined;
  /** Why the file cannot be read as an image, in one sentence: archived, encoded. */
  readonly unpresentable?: string | undefined;
}

/** A complete file, as `stat` returns it. */
export interface StoredFile extends ListedFile {
  readonly size: number;
  readonly revision: string;
  readonly ref: FileRef;
}

/** A page of a listing. */
export interface Page {
  readonly files: readonly ListedFile[];
  /** Names of the folders directly in a listed folder. */
  readonly folders?: readonly string[];
}

/** A file on disk, and the hashes of its bytes. */
export interface HashedFile {
  readonly path: string;
  readonly size: number;
  /** `sha256:<hex>` */
  readonly digest: string;
  /** In hexadecimal, for a store whose `hashes` contain `md5`. */
  readonly md5?: string | undefined;
  /** In hexadecimal, for a store whose `hashes` contain `blocks` (base/block-hash.ts). */
  readonly blocks?: string | undefined;
}

export interface SourceFile extends HashedFile {
  /** Opens the whole file as a request body; may be called again for a retry. Reports the progress itself. */
  readonly open: () => Readable;
}

export interface PutOptions {
  /** Metadata to store with the file; empty if the store has no `metadata`. */
  readonly metadata: Strings;
  /**
   * Put the file only if the key is free. If the service supports a conditional request, send the condition; the backend converts
   * statuses 409 and 412 to EXISTS. The backend has already checked once.
   */
  readonly ifAbsent?: boolean | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly resume?: PushState | undefined;
}

export interface Range {
  readonly offset: number;
  readonly length: number;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly signal?: AbortSignal | undefined;
}

export interface CopyOptions {
  /** Metadata of the copy; they replace the original's. */
  readonly metadata: Strings;
  /** Bytes of the original. */
  readonly size: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Store {
  /** Address of the store, for messages. */
  readonly target: string;
  /** Limits of the metadata that a file can carry. If absent, files carry none, and all metadata go into the sidecar. */
  readonly metadata?: MetadataLimits | undefined;
  /** Hashes that `put` needs besides sha256; the backend computes all in one pass over the file. */
  readonly hashes?: readonly ('md5' | 'blocks')[] | undefined;
  /** Can a folder exist without files, and is listing a missing folder NOT_FOUND? If not, a folder exists only while it has files. */
  readonly hasFolders?: boolean | undefined;

  /** The name of a key in messages. */
  show(key: string): string;
  /** The file of a key; undefined if the service says that it does not exist. */
  stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** Like `stat`, for the first of these keys that exists; all are in one folder. For a service that finds them with one request. */
  statFirst?(keys: readonly string[], signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** The files and folders directly in a folder: `''`, `a/`, `a/b/`. */
  list(folder: string, signal?: AbortSignal): AsyncIterable<Page>;
  /** A stream of a range of this revision. Throws NOT_FOUND or STALE if the revision is gone. */
  open(ref: FileRef, range: Range): Promise<Readable>;
  /** Puts a file, replacing an existing one. Returns what the service says it stored. */
  put(key: string, file: SourceFile, options: PutOptions): Promise<StoredFile>;
  /** The bytes of a sidecar. Throws NOT_FOUND if it does not exist. */
  getSmall(key: string, signal?: AbortSignal): Promise<Buffer>;
  putSmall(key: string, bytes: Buffer, signal?: AbortSignal): Promise<void>;
  /** Removes the file; succeeds if it is already gone. Throws STALE if it was replaced. */
  remove(ref: FileRef, signal?: AbortSignal): Promise<void>;

  /** Every file whose key begins with `prefix`, sorted by key. The store may skip keys before `after`. */
  listPrefix?(prefix: string, after: string | undefined, signal?: AbortSignal): AsyncIterable<Page>;
  /** Copies this revision within the service. */
  copy?(from: FileRef, key: string, options: CopyOptions): Promise<StoredFile>;
  /** Returns a link to the file, for `share`. */
  link?(ref: FileRef, options: ShareOptions, signal?: AbortSignal): Promise<string>;
  /** The version with this id that the service keeps for one of these keys. */
  version?(keys: readonly string[], id: string, signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** Are the handle's fields besides the key valid for this store? */
  isRef?(handle: RemoteImage['handle']): boolean;
  check?(signal?: AbortSignal): Promise<void>;
  close?(): Promise<void>;
}
