/**
 * A store: a service that holds files by key, as far as {@link storeBackend} needs to know it. What not every service can is a
 * property that is present or absent; the backend looks for it and never asks which service it is.
 *
 * Keys are paths without a leading slash. All methods throw SregistryErrors; `stat` alone turns "the service says it is not there"
 * into undefined.
 */
import type { Readable } from 'node:stream';
import type { RemoteImage } from '../../image/remote.ts';
import type { Progress, PushState, ShareOptions } from '../backend.ts';
import type { MetadataLimits } from './metadata.ts';

export type Strings = Readonly<Record<string, string>>;

/**
 * One revision of a file, in what the service wants to hear of it (generation, entity tag, version); plain JSON, for an image's
 * handle. With the key alone it is whatever the key stands for.
 */
export interface FileRef extends Record<string, unknown> {
  readonly key: string;
  /** This very version, whatever the key stands for now: to remove it leaves the rest of the key alone. */
  readonly exact?: boolean;
}

/** A file as a listing tells. Without size, revision or reference the file is asked for when more of it matters. */
export interface ListedFile {
  readonly key: string;
  /** Bytes. */
  readonly size?: number | undefined;
  readonly modified?: Date | undefined;
  /** Changes when the bytes do. */
  readonly revision?: string | undefined;
  readonly ref?: FileRef | undefined;
  /** What was put with the file; undefined where it is not told, or the service carries none. */
  readonly metadata?: Strings | undefined;
  /** `sha256:<hex>` of the bytes, where the service computes one. */
  readonly digest?: string | undefined;
  /** MD5 of the bytes in hexadecimal, where the service tells it. */
  readonly md5?: string | undefined;
  /** Why it cannot be read, in one sentence: archived, encoded. */
  readonly unpresentable?: string | undefined;
}

/** A file as the service tells it when it is asked for that file. */
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

/** A file on disk, and what its bytes are. */
export interface HashedFile {
  readonly path: string;
  readonly size: number;
  /** `sha256:<hex>` */
  readonly digest: string;
  /** In hexadecimal, for a store whose `hashes` has `md5`. */
  readonly md5?: string | undefined;
}

export interface SourceFile extends HashedFile {
  /** All of it, as the body of a request that can be sent again; tells the progress by itself. */
  readonly open: () => Readable;
}

export interface PutOptions {
  /** To be stored with the file; empty where the store carries none. */
  readonly metadata: Strings;
  /**
   * Put it there only if nothing is: as a condition of the request where the service knows one, whose statuses 409 and 412 then mean
   * EXISTS. The backend has looked before.
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
  /** Of the copy, in place of the original's. */
  readonly metadata: Strings;
  /** Bytes of the original. */
  readonly size: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Store {
  /** Where it points, for people. */
  readonly target: string;
  /** Metadata that a file can carry; absent where it carries none, and then all of it goes into the sidecar. */
  readonly metadata?: MetadataLimits | undefined;
  /** Hashes that `put` wants beside sha256, so that the file is read once. */
  readonly hashes?: readonly 'md5'[] | undefined;
  /** Are folders things of their own, of which an absent one is NOT_FOUND? Otherwise a folder that has nothing is none. */
  readonly hasFolders?: boolean | undefined;

  /** What names a key in messages. */
  show(key: string): string;
  /** The file of a key, or undefined where the service says that there is none. */
  stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** What lies directly in a folder: `''`, `a/`, `a/b/`. */
  list(folder: string, signal?: AbortSignal): AsyncIterable<Page>;
  /** A range of exactly that revision. NOT_FOUND or STALE where it is no longer there. */
  open(ref: FileRef, range: Range): Promise<Readable>;
  /** Puts a file there, in place of what is. Returns what the service says it stored. */
  put(key: string, file: SourceFile, options: PutOptions): Promise<StoredFile>;
  /** A sidecar's bytes; NOT_FOUND where there is none. */
  getSmall(key: string, signal?: AbortSignal): Promise<Buffer>;
  putSmall(key: string, bytes: Buffer, signal?: AbortSignal): Promise<void>;
  /** Not an error where it is gone already; STALE where another revision is there. */
  remove(ref: FileRef, signal?: AbortSignal): Promise<void>;

  /** Every file whose key begins with `prefix`, in the order of the keys; `after` is a hint: earlier keys may be left out. */
  listPrefix?(prefix: string, after: string | undefined, signal?: AbortSignal): AsyncIterable<Page>;
  /** A copy within the service, of exactly that revision. */
  copy?(from: FileRef, key: string, options: CopyOptions): Promise<StoredFile>;
  /** A link to the file. */
  link?(ref: FileRef, options: ShareOptions, signal?: AbortSignal): Promise<string>;
  /** The kept version with that id of one of these keys. */
  version?(keys: readonly string[], id: string, signal?: AbortSignal): Promise<StoredFile | undefined>;
  /** Is what a handle holds besides the key as this store made it? */
  isRef?(handle: RemoteImage['handle']): boolean;
  check?(signal?: AbortSignal): Promise<void>;
  close?(): Promise<void>;
}
