/**
 * The interface that every backend implements, and the declaration of its driver.
 *
 * A backend always has resolve, read and list; every further method is optional. The presence of a method is the capability, so
 * callers test `backend.copy` instead of "is it S3?". The declaration lists the same capabilities for help, docs and hints, which
 * load no driver; a test over all drivers compares the two.
 */
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Dependency } from '../base/optional.ts';
import type { Progress } from '../base/progress.ts';
import type { ImageName } from '../image/name.ts';
import type { ListEntry, RemoteImage } from '../image/remote.ts';
import type { OptionSchema, OptionValues } from '../settings/options.ts';
import type { HttpClient } from './http.ts';

export type { ListEntry, Progress, RemoteImage };

/** Bytes that a registry has under their digest. */
export interface Blob {
  readonly digest: string;
  readonly size: number;
}

export interface ImageFile {
  /** Path of a whole image on local disk. */
  readonly path: string;
  readonly size: number;
  /** `sha256:<hex>` if known. Otherwise the driver computes it when its protocol needs it. */
  readonly digest?: string | undefined;
  /** Extension of the image without the dot, for backends whose images are files. Default: that of `path`. */
  readonly extension?: string | undefined;
}

export interface PushOptions {
  /** Flat metadata to store with the image, if the service can. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Push only if no image has this name, else fail with EXISTS. If the service supports a conditional request, it decides, and one of
   * two simultaneous pushes fails. Otherwise the driver checks immediately before the push.
   */
  readonly ifAbsent?: boolean | undefined;
  /** Where a driver may keep what it needs to resume an interrupted push. Plain JSON; the caller persists it. */
  readonly resume?: PushState | undefined;
}

export interface PushState {
  load(): Record<string, unknown> | undefined;
  save(state: Record<string, unknown>): void;
}

export interface SearchQuery {
  /** Substring or glob over the name; empty for everything. */
  readonly query: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface ShareOptions {
  readonly email?: string | undefined;
  /** Seconds for which the link is valid. */
  readonly expires?: number | undefined;
}

export interface Backend {
  /** Name of the instance, which is also its folder in the mount. */
  readonly name: string;
  readonly driver: string;
  /** Scheme of the URIs of its images. Default: the name. */
  readonly uriScheme?: string | undefined;
  /** Address of the service or folder, for messages: `http://localhost:5000`. Contains no secret. */
  readonly target: string;
  /** The architecture whose images it chooses, if it has images for several: `arm64`, `arm/v7`. */
  readonly arch?: string | undefined;
  /** Any other option that decides what `resolve` says of a name, unless it has its default: answers are remembered by it. */
  readonly chooses?: string | undefined;
  /** Collection of a name without one (`library` on Docker Hub); empty if such a name has no collection. */
  readonly defaultCollection: string;
  /** HTTP client for the service, with the backend's credentials, for requests that no method makes. */
  readonly http?: HttpClient;

  /**
   * The remote image; undefined only if the service says that it does not exist. An unreachable service, a refused request and a
   * malformed answer are errors, never "absent".
   */
  resolve(name: ImageName, signal?: AbortSignal): Promise<RemoteImage | undefined>;

  /**
   * May images of a listing be resolved before somebody looks at them? Only if `resolve` is a small request that the service does not
   * count as a download. Default: no.
   */
  readonly resolvesAhead?: boolean;

  /**
   * A stream of exactly `length` bytes of this revision, from byte `offset`. Throws STALE if the revision changed.
   * `offset + length` must be within the size. Destroying the stream ends the request.
   */
  read(image: RemoteImage, offset: number, length: number, signal?: AbortSignal): Promise<Readable>;

  /**
   * A stream of exactly `length` bytes from byte `offset` of a layer of a {@link RemoteImage.layered} image. Present if `resolve` gives
   * such images.
   */
  readBlob?(
    image: RemoteImage,
    blob: Blob,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<Readable>;

  /**
   * All sub-collections and images directly in `collection` (`''` is the top).
   * Throws NOT_FOUND if the service says that there is no such collection, UNSUPPORTED if it cannot list.
   */
  list(collection: string, signal?: AbortSignal): AsyncIterable<ListEntry>;

  /**
   * Do the service's rules for names allow a collection of this path? Asks nothing. The mount takes such a collection to exist until
   * somebody reads it. Default: every path is allowed.
   */
  isCollectionName?(collection: string): boolean;

  /** Local path of the image, if the backend is a directory. Such images are read in place and never cached. */
  localPath?(image: RemoteImage): string;
  /**
   * Opens this revision for reading. Throws STALE if another file is at its path now. Never blocks. Present if `localPath` is.
   */
  openLocal?(image: RemoteImage): Promise<FileHandle>;
  /** Streams the file, resumes an interrupted push if the service can, and verifies what the service says it stored. */
  push?(file: ImageFile, name: ImageName, options?: PushOptions): Promise<RemoteImage>;
  search?(query: SearchQuery, signal?: AbortSignal): AsyncIterable<RemoteImage>;
  share?(image: RemoteImage, options: ShareOptions, signal?: AbortSignal): Promise<string>;
  /** Removes the image; succeeds if it is already gone. */
  remove?(image: RemoteImage, signal?: AbortSignal): Promise<void>;
  /** Copies within the service; the bytes do not pass through this machine. */
  copy?(from: RemoteImage, to: ImageName, signal?: AbortSignal): Promise<RemoteImage>;
  /** Stores a start-up trace with the image, whose revision stays. Returns the image as it is known now. */
  keepTrace?(image: RemoteImage, trace: string, signal?: AbortSignal): Promise<RemoteImage>;
  /** Checks that the service answers and accepts the credentials. */
  check?(signal?: AbortSignal): Promise<void>;
  /** Frees connections. */
  close?(): Promise<void>;
}

/** The capabilities of a backend beyond resolving and reading. Each is the name of a method. */
export const CAPABILITIES = [
  'list',
  'push',
  'search',
  'share',
  'remove',
  'copy',
  'check',
] as const satisfies (keyof Backend)[];

export type Capability = (typeof CAPABILITIES)[number];

export interface DriverContext<S extends OptionSchema = OptionSchema> {
  /** Name of the instance. */
  readonly name: string;
  readonly options: OptionValues<S>;
  readonly env: NodeJS.ProcessEnv;
}

/** What a person needs to grant access in a browser. */
export interface Invitation {
  /** The address to open. */
  readonly url: string;
  /** Code to enter there; undefined if the service needs none. */
  readonly code?: string | undefined;
}

/** The user interface of a login: a person at a terminal, or a test. */
export interface LoginUi {
  /** Is a person there? If not, `ask` and `show` throw SETTINGS. */
  readonly isInteractive: boolean;
  /** True if the person's browser is on another machine, which a redirect to this one does not reach. */
  readonly browserElsewhere?: boolean;
  /** Asks and returns the answer, which may be empty. `secret` turns the echo off. Throws CANCELED if the person refuses. */
  ask(question: string, options?: { readonly secret?: boolean }): Promise<string>;
  show(invitation: Invitation): void;
}

/** What a login starts from. The options that the login sets may be missing. */
export interface LoginContext<S extends OptionSchema = OptionSchema> {
  readonly name: string;
  readonly options: { readonly [K in keyof S]?: OptionValues<S>[K] | undefined };
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/** New values of the driver's options, as text. */
export type OptionChanges = Readonly<Record<string, string>>;

export interface Driver<S extends OptionSchema = OptionSchema> {
  readonly name: string;
  /** Name of the default instance, if it differs from the driver's (`docker` for `oci`). */
  readonly defaultInstance?: string;
  readonly title: string;
  /** URI schemes and `SREGISTRY_CLIENT` values that mean the default instance. */
  readonly aliases: readonly string[];
  /** What every backend of the driver can do. Without `list`, listing throws UNSUPPORTED; any other method is absent. */
  readonly capabilities: readonly Capability[];
  /** Packages that only this driver needs; see optional.ts. */
  readonly dependencies?: readonly Dependency[];
  readonly options: S;
  create(context: DriverContext<S>): Backend;
  /**
   * Logs in and returns the options that hold the login; the caller tries them with `check` and stores them. If a driver has no
   * `login`, the caller asks for the options that are credentials.
   */
  login?(context: LoginContext<S>, ui: LoginUi): Promise<OptionChanges>;
  /** Revokes a login at the service, before the caller deletes its options. */
  logout?(context: LoginContext<S>): Promise<void>;
}

/** Returns its argument with its type inferred: a driver's default export. */
export function defineDriver<const S extends OptionSchema>(driver: Driver<S>): Driver<S> {
  return driver;
}
