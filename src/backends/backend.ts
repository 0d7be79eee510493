/**
 * What a backend is: the interface every driver fulfils and the declaration it makes of itself.
 *
 * Five methods carry the weight (resolve, read, list, push, remove); each optional property's presence is the
 * capability, so callers ask `backend.copy` instead of "is it S3?". The declaration states the same capabilities, for help,
 * docs and hints, which load no driver; a test over all drivers compares both.
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

export interface ImageFile {
  /** Path of a whole image on local disk. */
  readonly path: string;
  readonly size: number;
  /** `sha256:<hex>` if already known; else the driver computes it when its protocol needs it. */
  readonly digest?: string | undefined;
  /** Extension it was written under, without the dot; for backends whose images are files. Default: that of `path`. */
  readonly extension?: string | undefined;
}

export interface PushOptions {
  /** Flat metadata to store beside the image where the service can. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Put the image there only if the name stands for nothing then, else fail with EXISTS. Decided by the service where it can
   * (a conditional request), so that of two pushes at the same time one fails; else by a look right before.
   */
  readonly ifAbsent?: boolean | undefined;
  /** A driver may keep what it needs to resume an interrupted push here: plain JSON, persisted by the caller. */
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
  /** Seconds the link shall live. */
  readonly expires?: number | undefined;
}

export interface Backend {
  /** Name of the instance, which is also its folder in the mount. */
  readonly name: string;
  readonly driver: string;
  /** Where it points, for people: `http://localhost:5000`. Never a secret. */
  readonly target: string;
  /** Collection of a name that gives none (`library` on Docker Hub); empty where a bare name is a name of its own. */
  readonly defaultCollection: string;
  /** What it speaks to its service with, credentials included: for requests that no method here makes. */
  readonly http?: HttpClient;

  /**
   * The remote image, or undefined only where the service says that it does not exist. Unreachable, forbidden and
   * malformed are errors, never "absent".
   */
  resolve(name: ImageName, signal?: AbortSignal): Promise<RemoteImage | undefined>;

  /**
   * A stream of exactly `length` bytes from `offset` of exactly that revision; a changed revision is the error STALE.
   * `offset + length` is within the size. Destroying the stream ends the request.
   */
  read(image: RemoteImage, offset: number, length: number, signal?: AbortSignal): Promise<Readable>;

  /**
   * Sub-collections and images directly in `collection` (`''` is the top), pages followed to the end.
   * NOT_FOUND where the service says there is no such collection; UNSUPPORTED where it cannot list.
   */
  list(collection: string, signal?: AbortSignal): AsyncIterable<ListEntry>;

  /** Local path of the image's bytes where the backend is a directory: read in place, never cached. */
  localPath?(image: RemoteImage): string;
  /**
   * Opens exactly that revision for reading, whatever was put at its path since; a changed revision is the error STALE. Never
   * waits. Present where `localPath` is.
   */
  openLocal?(image: RemoteImage): Promise<FileHandle>;
  /** Streams the file; resumes where the service can; verified against what the service says it stored. */
  push?(file: ImageFile, name: ImageName, options?: PushOptions): Promise<RemoteImage>;
  search?(query: SearchQuery, signal?: AbortSignal): AsyncIterable<RemoteImage>;
  share?(image: RemoteImage, options: ShareOptions, signal?: AbortSignal): Promise<string>;
  /** Not an error if it is gone already. */
  remove?(image: RemoteImage, signal?: AbortSignal): Promise<void>;
  /** Copy within the service, without the bytes passing here. */
  copy?(from: RemoteImage, to: ImageName, signal?: AbortSignal): Promise<RemoteImage>;
  /** Checks that the service answers and the credentials are accepted. */
  check?(signal?: AbortSignal): Promise<void>;
  /** Frees connections. */
  close?(): Promise<void>;
}

/** What a backend may be able to do beyond resolving and reading: the method of the same name. */
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

/** What a person needs to know to allow access with a browser. */
export interface Invitation {
  /** The address to open. */
  readonly url: string;
  /** What to enter there; undefined where nothing is. */
  readonly code?: string | undefined;
}

/** Whom a login talks to: a person at a terminal, or a test. */
export interface LoginUi {
  /** Is there someone to ask? Where there is not, `ask` and `show` are the error SETTINGS. */
  readonly isInteractive: boolean;
  /** The answer, which may be empty. With `secret` it is not shown. CANCELED where it is refused. */
  ask(question: string, options?: { readonly secret?: boolean }): Promise<string>;
  show(invitation: Invitation): void;
}

/** What a login has to begin with. Options that it is to bring may be missing. */
export interface LoginContext<S extends OptionSchema = OptionSchema> {
  readonly name: string;
  readonly options: { readonly [K in keyof S]?: OptionValues<S>[K] | undefined };
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/** Values for options of the driver, as text. */
export type OptionChanges = Readonly<Record<string, string>>;

export interface Driver<S extends OptionSchema = OptionSchema> {
  readonly name: string;
  /** Name of the default instance, where it is not the driver's (`docker` for `oci`). */
  readonly defaultInstance?: string;
  readonly title: string;
  /** URI schemes and `SREGISTRY_CLIENT` values that mean the default instance. */
  readonly aliases: readonly string[];
  /** What every backend of it can do. Without `list`, listing is the error UNSUPPORTED; any other method is absent. */
  readonly capabilities: readonly Capability[];
  /** Packages that only this driver needs; see optional.ts. */
  readonly dependencies?: readonly Dependency[];
  readonly options: S;
  create(context: DriverContext<S>): Backend;
  /**
   * Logs in, in whatever way the service has: the options that hold the login, which the caller tries with `check` and keeps. A
   * driver without it is asked for its options that are credentials.
   */
  login?(context: LoginContext<S>, ui: LoginUi): Promise<OptionChanges>;
  /** Revokes a login at the service, before its options are forgotten here. */
  logout?(context: LoginContext<S>): Promise<void>;
}

/** Identity with inference: a driver's default export. */
export function defineDriver<const S extends OptionSchema>(driver: Driver<S>): Driver<S> {
  return driver;
}
