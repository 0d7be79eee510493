/** The parts of an image's name, as every room passes them around. Parsed and formatted in names.ts. */
export interface ImageName {
  /** Host of the registry, if the name gives one (`quay.io`, `localhost:5000`). */
  readonly registry?: string | undefined;
  /** Everything between registry and image, `/`-separated; may be empty if the service allows it. */
  readonly collection: string;
  readonly image: string;
  readonly tag: string;
  /** A version that names one revision: a digest (`sha256:...`), a generation, a commit. */
  readonly version?: string | undefined;
  /** The file name that a person wrote, `hello_1.0.simg`. A service of files looks for it first. Not a part of the identity. */
  readonly file?: string | undefined;
}

/** `[registry/]collection`: the folder an image is shown in, `''` at the top. */
export function folderOf(name: Pick<ImageName, 'registry' | 'collection'>): string {
  return [name.registry, name.collection].filter(Boolean).join('/');
}
