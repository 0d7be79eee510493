/**
 * Maps a collection to the URL of its folder. With a `base`, the folder lies below it; a name may also begin with the base's host, as a
 * copied URL does. Without a `base`, the first component of every name is the host.
 */

import { isLoopback } from '../http.ts';
import { foldersOf } from '../kit/layout.ts';

export interface PlaceOptions {
  /** Ends in `/`. */
  readonly base: URL | undefined;
  readonly nohttps: boolean;
}

/** Host and port as in a URL, without user and path. */
const HOST =
  /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)+|localhost|\[[0-9a-f:.]+\])(?::\d{1,5})?$|^[a-z0-9_-]+:\d{1,5}$/i;

/** The URL of a folder, with `/` at its end; undefined if the name is invalid. */
export function folderUrl(folder: string, { base, nohttps }: PlaceOptions): URL | undefined {
  const components = foldersOf(folder);
  if (components === undefined) return undefined;
  const [first = '', ...rest] = components;
  if (base === undefined) return HOST.test(first) ? below(originOf(first, nohttps), rest) : undefined;
  return first.toLowerCase() === base.host ? within(base, rest) : below(base, components);
}

function originOf(host: string, nohttps: boolean): URL {
  const isPlain = nohttps || isLoopback(host) || host.endsWith(':80');
  return new URL(`${isPlain ? 'http' : 'https'}://${host}/`);
}

function below(base: URL, components: readonly string[]): URL {
  return new URL(components.map((component) => `${encodeURIComponent(component)}/`).join(''), base);
}

/** The folder with this absolute path; undefined if it lies outside the base. */
function within(base: URL, components: readonly string[]): URL | undefined {
  const url = below(new URL('/', base), components);
  return url.pathname.startsWith(base.pathname) ? url : undefined;
}

/** The URL of a file in a folder. */
export function fileUrl(folder: URL, name: string): URL {
  return new URL(encodeURIComponent(name), folder);
}
