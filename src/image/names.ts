/**
 * Image names as people write them: `[registry/][collection/]image[:tag][@version][.sif]`.
 *
 * The rules are those of the Python client, whose three regular expressions come down to: whatever follows
 * the first `@` is the version; of three or more components the first is always the registry, of two it is one when
 * it holds a dot or a colon after its first character; what is left between registry and image is the collection.
 * Here they are one pass over the text. A trailing image extension is not part of the name; the Python client removed
 * the letters wherever they stood.
 */
import { requireTexts } from '../base/arguments.ts';
import { SregistryError } from '../base/errors.ts';
import { IMAGE_EXTENSIONS, isPathComponent, splitExtension, splitReference } from './file-name.ts';
import type { ImageName } from './name.ts';

export * from './file-name.ts';
export * from './uri.ts';

export interface ParseNameOptions {
  /** Wins over the tag in the text. */
  readonly tag?: string | undefined;
  /** Wins over the version in the text. */
  readonly version?: string | undefined;
  /** Fill in collection and tag where the text has none (default true). */
  readonly defaults?: boolean | undefined;
  /** Extension of `storage` (default `sif`). */
  readonly ext?: string | undefined;
  /** Address of the service, removed from the text wherever it occurs. */
  readonly base?: string | undefined;
  /** Lower-case collection, image and tag (default true); a version always is. */
  readonly lowercase?: boolean | undefined;
  /** Default `library`. */
  readonly defaultCollection?: string | undefined;
  /** Default `latest`. */
  readonly defaultTag?: string | undefined;
  /**
   * The meaning of the first of three or more components. `registry` (default): always the registry, as in the Python client.
   * `host`: the registry only if it looks like a host (a dot, a colon, or `localhost`), as Docker reads names; else part of a
   * nested collection.
   */
  readonly first?: 'registry' | 'host' | undefined;
}

/** A name in the Python client's terms. Without `defaults`, `collection` and `tag` are `''` if not given. */
export interface ParsedName extends ImageName {
  readonly registry: string | undefined;
  readonly version: string | undefined;
  /** The text as it came in. */
  readonly original: string;
  /** `[registry/]collection/image` */
  readonly url: string;
  /** `url:tag[@version]` */
  readonly uri: string;
  /** Path under which a store keeps it: `uri.ext`. */
  readonly storage: string;
}

/** @throws {SregistryError} INVALID_NAME. */
export function parseImageName(text: string, options: ParseNameOptions = {}): ParsedName {
  requireTexts('parseImageName(text, options?)', { text });
  const { defaults = true, lowercase = true, ext = 'sif' } = options;
  const { components, tag: ownTag, version: ownVersion } = splitText(text, options.base);
  const image = components.pop() as string;
  const registry = isRegistry(components, options.first ?? 'registry') ? components.shift() : undefined;
  if (components.some((component) => component.includes(':')))
    throw invalid(text, 'a collection cannot contain a colon');

  const fold = (part: string) => (lowercase ? part.toLowerCase() : part);
  const collection = components.join('/') || (defaults ? (options.defaultCollection ?? 'library') : '');
  const tag = options.tag || ownTag || (defaults ? (options.defaultTag ?? 'latest') : '');
  const version = (options.version || ownVersion)?.toLowerCase();
  const name = { registry, collection: fold(collection), image: fold(image), tag: fold(tag), version };
  checkGiven(text, name);
  return {
    ...name,
    original: text,
    url: formatUrl(name),
    uri: formatImageName(name),
    storage: `${formatReference(name)}.${ext}`,
  };
}

/** `[registry/]collection/image:tag[@version]`; parsing it gives the same name back. */
export function formatImageName(name: ImageName): string {
  const text = formatReference(name);
  // A tag or version that itself ends like an extension would lose it to the parser.
  return splitExtension(text).extension === undefined ? text : `${text}.sif`;
}

function formatUrl(name: ImageName): string {
  return [name.registry, name.collection, name.image].filter(Boolean).join('/');
}

function formatReference(name: ImageName): string {
  const tag = name.tag === '' ? '' : `:${name.tag}`;
  const version = name.version === undefined ? '' : `@${name.version}`;
  return `${formatUrl(name)}${tag}${version}`;
}

function splitText(text: string, base: string | undefined) {
  const { stem } = splitExtension(withoutBase(text, base));
  const at = stem.indexOf('@');
  const slash = stem.lastIndexOf('/', at < 0 ? stem.length : at);
  const reference = splitReference(stem.slice(slash + 1));
  if (reference === undefined)
    throw invalid(text, 'image, tag and version must each be one part and not empty');
  const components = slash < 0 ? [] : stem.slice(0, slash).split('/');
  components.push(reference.image);
  const bad = [...components, reference.tag, reference.version].find(
    (part) => part !== undefined && !isPathComponent(part),
  );
  if (bad !== undefined) throw invalid(text, `${JSON.stringify(bad)} cannot be a part of a name`);
  return { components, tag: reference.tag, version: reference.version };
}

function withoutBase(text: string, base: string | undefined): string {
  if (base === undefined || base === '') return text;
  const rest = text.replaceAll(base, '');
  let [start, end] = [0, rest.length];
  while (rest[start] === '/') start++;
  while (end > start && rest[end - 1] === '/') end--;
  return rest.slice(start, end);
}

/** `before` has the components in front of the image. */
function isRegistry(before: readonly string[], first: 'registry' | 'host'): boolean {
  const [candidate = ''] = before;
  if (before.length > 1 && first === 'registry') return true;
  return /^.+[.:]/u.test(candidate) || (first === 'host' && candidate === 'localhost');
}

/** Checks parts that came from options by the same rules as the text. */
function checkGiven(text: string, name: ImageName): void {
  const collectionIsFine = name.collection === '' || name.collection.split('/').every(isPathComponent);
  const tagIsFine = name.tag === '' || (isPathComponent(name.tag) && !/[:@]/.test(name.tag));
  const versionIsFine = name.version === undefined || isPathComponent(name.version);
  if (!collectionIsFine || !tagIsFine || !versionIsFine)
    throw invalid(text, `its collection, tag or version is malformed`);
}

function invalid(text: string, why: string): SregistryError {
  const shown = text.length > 200 ? `${text.slice(0, 200)}...` : text;
  return new SregistryError('INVALID_NAME', `Cannot read ${JSON.stringify(shown)} as an image name: ${why}`, {
    hint: `A name looks like collection/image:tag or registry.example.org/collection/image:tag, with .${IMAGE_EXTENSIONS.join(', .')} allowed at the end`,
  });
}
