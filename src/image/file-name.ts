/**
 * Image names as file names: `<image>:<tag>[@<version>].<ext>`, one path component. Case is kept, and a version may
 * hold a colon (`hello:latest@sha256:abc.simg`).
 */

/** Extensions that mean a container image, the most usual one of the mount first. */
export const IMAGE_EXTENSIONS = ['simg', 'sif', 'img'] as const;

export type ImageExtension = (typeof IMAGE_EXTENSIONS)[number];

export interface FileNameParts {
  readonly image: string;
  /** `latest` where the file name has none. */
  readonly tag: string;
  readonly version: string | undefined;
}

export interface FileName extends FileNameParts {
  readonly extension: ImageExtension;
  /** Does the file name itself give a tag? */
  readonly tagged: boolean;
}

const CONTROL = /\p{Cc}/u;

/** May `text` be one path component of a name: not empty, no `/`, not `.` or `..`, no control characters? */
export function isPathComponent(text: string): boolean {
  return text !== '' && text !== '.' && text !== '..' && !text.includes('/') && !CONTROL.test(text);
}

/** Splits `name` into the part before its image extension and that extension without the dot. Undefined if it has none. */
export function splitExtension(name: string): { stem: string; extension: ImageExtension | undefined } {
  const dot = name.lastIndexOf('.');
  const extension = IMAGE_EXTENSIONS.find((known) => name.slice(dot + 1) === known);
  return dot < 0 || extension === undefined
    ? { stem: name, extension: undefined }
    : { stem: name.slice(0, dot), extension };
}

/** Parses `image[:tag][@version]`. Undefined if a part is empty. */
export function splitReference(
  text: string,
): { image: string; tag: string | undefined; version: string | undefined } | undefined {
  const at = text.indexOf('@');
  const version = at < 0 ? undefined : text.slice(at + 1);
  const [image = '', tag, ...rest] = (at < 0 ? text : text.slice(0, at)).split(':');
  if (image === '' || tag === '' || version === '' || rest.length > 0) return undefined;
  return { image, tag, version };
}

/**
 * Parses a file name. Undefined if it is not an image's: another extension, a leading dot (temporary and hidden files), `/` or
 * control characters, an empty part, a second tag.
 */
export function parseFileName(fileName: string): FileName | undefined {
  if (fileName.startsWith('.') || !isPathComponent(fileName)) return undefined;
  const { stem, extension } = splitExtension(fileName);
  const parts = splitReference(stem);
  if (extension === undefined || parts === undefined) return undefined;
  return { ...parts, tag: parts.tag ?? 'latest', extension, tagged: parts.tag !== undefined };
}

/** The file name of an image; {@link parseFileName} gives the parts back. */
export function formatFileName(
  name: Pick<FileNameParts, 'image' | 'tag'> & { readonly version?: string | undefined },
  extension: string,
): string {
  const version = name.version === undefined ? '' : `@${name.version}`;
  return `${name.image}:${name.tag}${version}.${extension}`;
}
