/**
 * Where a collection lies. With a `base` it is a folder below that; a name may also begin with the base's host, as a copied
 * URL does. Without one, the first component of every name is the host.
 */

import { isLoopback } from '../http.ts';
import { foldersOf } from '../kit/layout.ts';

export interface PlaceOptions {
  /** Ends in `/`. */
  readonly base: URL | undefined;
  readonly nohttps: boolean;
}

/** Host and port as they stand in a URL; no user, no path. */
const HOST =
  /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)+|localhost|\[[0-9a-f:.]+\])(?::\d{1,5})?$|^[a-z0-9_-]+:\d{1,5}$/i;

/** The URL of the folder, which ends in `/`; undefined where there can be none of that name. */
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

/** The folder of that absolute path, if it is in the base. */
function within(base: URL, components: readonly string[]): URL | undefined {
  const url = below(new URL('/', base), components);
  return url.pathname.startsWith(base.pathname) ? url : undefined;
}

/** The URL of a file in a folder. */
export function fileUrl(folder: URL, name: string): URL {
  return new URL(encodeURIComponent(name), folder);
}
