/**
 * What a path of the mount stands for: `/<backend>/<collection...>/<image>:<tag>[@<version>].<ext>`. Only parses; the
 * filesystem finds out whether something is there.
 */
import { SregistryError } from '../base/errors.ts';
import type { ImageName } from '../image/name.ts';
import {
  formatFileName,
  formatImageName,
  IMAGE_EXTENSIONS,
  isPathComponent,
  parseFileName,
  splitExtension,
} from '../image/names.ts';

/** A path below a backend's folder. `collection` is `''` at its top. */
interface BelowBackend {
  readonly backend: string;
  readonly collection: string;
}

export type ParsedPath =
  | { readonly kind: 'root' }
  | ({ readonly kind: 'folder' } & BelowBackend)
  /** A file that names an image. */
  | ({ readonly kind: 'image'; readonly name: ImageName; readonly extension: string } & BelowBackend)
  /** `<image file>.json`: what inspect says of it. */
  | ({ readonly kind: 'inspect'; readonly name: ImageName } & BelowBackend);

export type FolderPath = Extract<ParsedPath, { kind: 'folder' }>;
export type ImagePath = Extract<ParsedPath, { kind: 'image' }>;

const INSPECT_SUFFIX = '.json';

const IMAGE_FILE = new RegExp(`\\.(?:${IMAGE_EXTENSIONS.join('|')})(?![a-z0-9])`, 'i');

/** Bytes of the longest file name (NAME_MAX of Linux's file systems). */
const NAME_MAX = 255;

/** The last path that was parsed. One operation parses its path several times. */
let last: { readonly path: string; readonly parsed: ParsedPath | undefined } | undefined;

/** What an absolute path stands for; undefined if nothing in a mount can have that path. */
export function parsePath(path: string): ParsedPath | undefined {
  if (last?.path !== path) last = { path, parsed: parse(path) };
  return last.parsed;
}

function parse(path: string): ParsedPath | undefined {
  const parts = path.split('/').filter((part) => part !== '');
  if (!parts.every(isPathComponent)) return undefined;
  const [backend, ...rest] = parts;
  if (backend === undefined) return { kind: 'root' };
  const file = rest.at(-1);
  if (file === undefined) return { kind: 'folder', backend, collection: '' };
  const collection = rest.slice(0, -1).join('/');
  const name = imageName(file, collection);
  if (name !== undefined) {
    return { kind: 'image', backend, collection, name, extension: splitExtension(file).extension as string };
  }
  const inspected = file.endsWith(INSPECT_SUFFIX)
    ? imageName(file.slice(0, -INSPECT_SUFFIX.length), collection)
    : undefined;
  if (inspected !== undefined) return { kind: 'inspect', backend, collection, name: inspected };
  return { kind: 'folder', backend, collection: rest.join('/') };
}

/**
 * A key that is the same for every path of one thing. An image has several file names (`x.sif`, `x:latest.simg`); everything
 * else has one.
 */
export function keyOf(path: string): string {
  const parsed = parsePath(path);
  return parsed?.kind === 'image' ? imageKey(parsed.backend, parsed.name) : path;
}

export function imageKey(backend: string, name: ImageName): string {
  return `${backend}://${formatImageName(name)}`;
}

/**
 * The file name that a spelling without colons stands for: `hello@tag=1.0.simg` for `hello:1.0.simg`, and `@sha256=` for `@sha256:`.
 * Colons separate paths in bind options and in variables such as PATH. No service's version begins like that, so nothing else is meant.
 */
function withColons(file: string): string {
  return file.replace(/^([^@:]+)@tag=/, '$1:').replace(/@(sha256|sha512)=/, '@$1:');
}

function imageName(file: string, collection: string): ImageName | undefined {
  const parts = parseFileName(withColons(file));
  return parts && { collection, image: parts.image, tag: parts.tag, version: parts.version };
}

/** The file name under which an image is listed, or undefined if its name cannot be one. */
export function fileNameOf(name: ImageName, extension: string): string | undefined {
  const file = formatFileName(name, extension);
  return isPathComponent(file) ? file : undefined;
}

/** Suffixes of files that programs write before they rename them, keep as copies, or put beside others. */
const FILE_SUFFIX =
  /\.(?:aria2|bak|crdownload|download|filepart|json|lock|md5|old|orig|part|partial|sha256|te?mp)$/i;

/**
 * Does the name look like that of a file, although it is not an image's? Such as that of a copy under way, which is renamed later:
 * `tool:1.0.sif.part`, `tool.sif.Xy12Ab`, `tool.tmp`.
 */
export function looksLikeFile(path: string): boolean {
  const name = baseOf(path);
  return /[:~]|^tmp\./.test(name) || FILE_SUFFIX.test(name) || IMAGE_FILE.test(name);
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * Is a part of a path short enough to be a file name? The kernel refuses the whole listing of a folder if one name in it is too
 * long.
 */
export function isShortEnough(part: string): boolean {
  return part.length <= NAME_MAX && Buffer.byteLength(part) <= NAME_MAX;
}

/** Throws NAME_TOO_LONG if a part of a path is longer than a file name can be. */
export function checkLength(path: string): void {
  if (path.length <= NAME_MAX || path.split('/').every(isShortEnough)) return;
  throw new SregistryError('NAME_TOO_LONG', `A part of ${path} is longer than ${NAME_MAX} bytes`);
}
