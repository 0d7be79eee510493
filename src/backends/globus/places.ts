/**
 * Where an image is: an endpoint (a collection) and a path there. The key of a file begins with the endpoint, as the Python client
 * writes it, unless the option `endpoint` says it:
 *
 * | key | place |
 * |---|---|
 * | `<id>:/data/x:1.sif` | `/data/x:1.sif` |
 * | `<id>:data/x:1.sif` | `data/x:1.sif` in the collection's default folder, the user's home in most collections |
 * | `<id>/a/x:1.sif` | `a/x:1.sif` in the folder that the option `path` names |
 * | `a/x:1.sif` | the same, at the endpoint that the option `endpoint` names |
 */
import { posix } from 'node:path';
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';

const ID = '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}';
const IS_ID = new RegExp(`^${ID}$`);
const FIRST = new RegExp(`^(${ID})(?:(:)(.*))?$`, 's');

export interface Place {
  readonly endpoint: string;
  /** From the default folder unless it begins with a slash. Never leads out of where it begins. */
  readonly path: string;
}

export interface PlaceOptions {
  readonly endpoint?: string | undefined;
  readonly path?: string | undefined;
}

export const isId = (text: string): boolean => IS_ID.test(text);

export function placeOf(key: string, { endpoint, path: root = '' }: PlaceOptions): Place {
  const [first = '', ...rest] = key.split('/');
  const [, id, colon, start = ''] = FIRST.exec(first) ?? [];
  if (id === undefined && endpoint === undefined)
    throw new SregistryError('INVALID_NAME', `${key} does not say which Globus collection is meant`, {
      hint: 'write <collection id>:<path>, or set the option endpoint',
    });
  const [before, after] = id === undefined ? [root, key] : [colon ? start : root, rest.join('/')];
  const isAbsolute = before.startsWith('/') || (colon !== undefined && start === '');
  const path = posix.join(isAbsolute ? '/' : '.', before, after);
  if (`${before}/${after}`.split('/').includes('..'))
    throw new SregistryError('INVALID_NAME', `${key} leads out of its folder`);
  return { endpoint: id ?? (endpoint as string), path };
}

/** `<id>:x.sif` looks like an image named as the endpoint, with the file as its tag: the same name, with the endpoint as its folder. */
export function withFolder(name: ImageName): ImageName {
  if (name.collection !== '' || name.registry !== undefined || !isId(name.image)) return name;
  const { stem } = splitExtension(name.tag);
  return { ...name, collection: `${name.image}:.`, image: stem, tag: 'latest' };
}

/** The folder and the remaining words of a query that begins with an endpoint: `<id>:<path> <words>`. */
export function folderInQuery(query: string): { folder: string; words: string } | undefined {
  const [, folder, words = ''] = new RegExp(`^(${ID}(?::\\S*)?)(?:\\s+(.*))?$`, 's').exec(query) ?? [];
  return folder === undefined ? undefined : { folder: folder.replace(/(?<!:)\/+$/, ''), words };
}
