/**
 * Names as the server keeps them: one level of collections, all in lower case. The server formats the name of a collection itself, and
 * checks signatures against the formatted one (`format_collection_name` in `shub/apps/main/utils.py`).
 */
import { SregistryError } from '../../base/errors.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { formatImageName, isPathComponent } from '../../image/names.ts';

/** An image as the server knows it. */
export interface Subject {
  readonly collection: string;
  readonly image: string;
  readonly tag: string;
}

/** `My_Lab.x` -> `my-lab-x` */
export function formatCollection(name: string): string {
  return name
    .replace(/[^0-9a-zA-Z]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .toLowerCase();
}

/** The server that a folder names, if it names one, and the collection there: `containers.example.org/lab`, or `lab`. */
export function splitFolder(folder: string): { readonly host?: string; readonly collection: string } {
  const [, host, collection] = /^([^/]+[.:][^/]+|localhost)\/(.+)$/.exec(folder) ?? [];
  return host === undefined || collection === undefined ? { collection: folder } : { host, collection };
}

/** The collection of a folder as the server knows it; undefined if the server cannot have it. */
function collectionOf(folder: string): string | undefined {
  const { collection } = splitFolder(folder);
  return collection.includes('/') ? undefined : formatCollection(collection) || undefined;
}

/** Can a server have the collection of this folder? */
export function isCollectionName(folder: string): boolean {
  return collectionOf(folder) !== undefined;
}

/** The image of a name; undefined if the server cannot have it. */
export function subjectOf(name: ImageName): Subject | undefined {
  const { image, tag } = name;
  const isPossible = [image, tag].every((part) => isPathComponent(part) && !/[:@]/.test(part));
  const formatted = collectionOf(folderOf(name));
  if (!isPossible || formatted === undefined) return undefined;
  return { collection: formatted, image: image.toLowerCase(), tag: tag.toLowerCase() };
}

/** Like {@link subjectOf}. Throws INVALID_NAME if the server cannot have the image. */
export function requireSubject(name: ImageName): Subject {
  const subject = subjectOf(name);
  if (subject !== undefined) return subject;
  throw new SregistryError(
    'INVALID_NAME',
    `${formatImageName(name)} cannot be an image on a registry server`,
    {
      hint: 'A name is collection/image:tag, with one collection: registry://lab/hello:1.0',
    },
  );
}

/** The path of an image in the API. */
export function pathOf({ collection, image, tag }: Subject): string {
  return `container/${[collection, image].map(encodeURIComponent).join('/')}:${encodeURIComponent(tag)}`;
}
