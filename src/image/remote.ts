import type { Layered } from './layers/image.ts';
import type { ImageName } from './name.ts';

/** The answer of a service for a name: one immutable revision of one image. */
export interface RemoteImage {
  readonly name: ImageName;
  /** Bytes of the image file. */
  readonly size: number;
  /** When this revision was made, if the service says so. */
  readonly modified?: Date | undefined;
  /** `sha256:<64 hex>` of the image file, if the service states it. */
  readonly digest?: string | undefined;
  /** Changes whenever the bytes change: digest, ETag, generation. */
  readonly revision: string;
  /** The service's own version of the image (a commit, an MD5), if the library keeps it as the version of a pulled image. */
  readonly version?: string | undefined;
  /**
   * The service that has the bytes, if the backend speaks to several (`ghcr.io`). Until bytes are verified, those of one
   * service never count as another's, whatever digest it states.
   */
  readonly origin?: string | undefined;
  /** Metadata stored beside the image: labels, annotations. Flat strings. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** What a start of it reads, if that is stored with it: a text from elsewhere, which cache/trace.ts reads. */
  readonly trace?: string | undefined;
  /** Extension it is stored under (`sif`, `simg`), if the service stores one. */
  readonly extension?: string | undefined;
  /**
   * Set when the name exists but is not one image file (a plain Docker image, a signature): why, in one sentence.
   * Such an image is listed with mode 0000 and cannot be read; size is that of the manifest or 0.
   */
  readonly unpresentable?: string | undefined;
  /**
   * The service sends the file only as a whole, from its beginning. The cache then fetches all of it with one read, even for a
   * small part.
   */
  readonly sequential?: boolean | undefined;
  /**
   * Set if the service has it as layers, not as one file. `size` is then an estimate until the image was opened once, and the
   * backend's `readBlob` reads the layers, not `read`.
   */
  readonly layered?: Layered | undefined;
  /** What the driver needs to read it again; plain JSON, so that the catalog can keep it. */
  readonly handle: Readonly<Record<string, unknown>>;
}

/** An entry of a listing. */
export type ListEntry =
  /** A sub-collection, by its own name: one path component. */
  | { readonly kind: 'collection'; readonly name: string }
  | {
      readonly kind: 'image';
      readonly name: ImageName;
      /** Set if the listing told enough; else the caller resolves the name when needed. */
      readonly remote?: RemoteImage | undefined;
      /** As {@link RemoteImage.extension}, if the listing told only that. */
      readonly extension?: string | undefined;
      /**
       * What `stat` shows of the image, for less than resolving the name costs: perhaps without digest and annotations. Undefined if
       * only resolving tells. For images on this machine, whose listings tell only names.
       */
      readonly look?: (() => Promise<RemoteImage | undefined>) | undefined;
    };

export type ImageEntry = Extract<ListEntry, { kind: 'image' }>;
