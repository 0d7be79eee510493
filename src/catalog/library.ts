/**
 * The library: the user's own images, rows of sregistry.db with their files in the storage folder. Queries are image
 * names; a query without a version means the version added last.
 */
import type { ImageName } from '../image/name.ts';
import type { Container, ContainerFields } from './container.ts';
import type { LabelFilter, LabelUse } from './labels.ts';
import type { Transfer } from './storage.ts';

export interface LibraryOptions {
  /** Path of sregistry.db. It and its folder are made when the first image is added. */
  readonly databaseFile: string;
  /** Folder of the images. */
  readonly storage: string;
  /** SREGISTRY_DISABLE or SINGULARITY_DISABLE_CACHE is set: nothing is stored. */
  readonly disabled?: boolean | undefined;
}

export interface Addition {
  /** It is stored under its version; if it has none, under the sha256 of the file. */
  readonly name: ImageName;
  /** Undefined: only the address is added. */
  readonly file?: string | undefined;
  /** Default `move`. */
  readonly transfer?: Transfer | undefined;
  /** Throw EXISTS if an image with a file has the name, in any version. The transaction that adds the image decides. */
  readonly ifAbsent?: boolean | undefined;
  /** The backend it comes from. */
  readonly client: string;
  readonly url?: string | undefined;
  /** What is known about it: labels, the service's manifest. The library adds its names. */
  readonly metrics?: Readonly<Record<string, unknown>> | undefined;
  /** `sha256:<hex>` of the file, if the caller knows it. A copy is compared with it; for a moved file it is trusted. */
  readonly digest?: string | undefined;
  readonly progress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type Query = string | ImageName;

/**
 * Methods throw NOT_FOUND if no image matches the query, DATABASE if sregistry.db cannot be used, and the errors of the file
 * system.
 */
export interface Library {
  /** Stores an image, or renews what is stored under the same name and version. */
  add(addition: Addition): Promise<Container>;
  get(query: Query): Container | undefined;
  /**
   * Images whose name, tag or URI contains each word of `query`; all images without a query, or for `''` and `*`. By name, then
   * the newest first.
   */
  images(query?: string): Container[];
  /** The row itself, as the Python client prints it. */
  inspect(query: Query): ContainerFields;
  /** Moves the file out of the storage to `path`, a folder or a new file. Throws EXISTS if the file exists. */
  mv(query: Query, path: string): Promise<Container>;
  /**
   * Gives an image another name and moves its file within the storage. The image keeps its version. Throws EXISTS if the name
   * is taken.
   */
  rename(query: Query, to: Query): Promise<Container>;
  /** Removes the row and the file. Returns the removed container. */
  rm(query: Query): Promise<Container>;
  /** Labels with the given key and value; all labels without either. */
  labels(filter?: LabelFilter): LabelUse[];
  /** An image whose file has this digest (`sha256:<hex>`) now. */
  findByDigest(digest: string): Container | undefined;
  /** `sha256:<hex>` of an image's file as it is now; undefined if that is not known without reading it. */
  digestOf(container: Container): string | undefined;
  close(): void;
}
