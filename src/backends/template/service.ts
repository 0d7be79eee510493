/**
 * Step 2, the shell: how to reach the service and who we are there, and which of its addresses a name stands for.
 *
 * `createHttp` does what every service needs: it retries, waits when it is told to, gives up in time, keeps credentials to
 * `base`. A service whose tokens expire also gets `updateToken`: it is called once after a 401, and answers true when
 * there is a new one for `authorize` to send.
 */
import { folderOf } from '../../image/folder.ts';
import type { ImageName } from '../../image/name.ts';
import { formatFileName } from '../../image/names.ts';
import type { DriverContext } from '../backend.ts';
import { createHttp, type Http } from '../http.ts';
import { foldersOf, parseEntry } from '../kit/layout.ts';
import type { declaration } from './declaration.ts';

export interface Service {
  readonly http: Http;
  /** Ends in `/`. */
  readonly base: URL;
}

/** All images get the same extension here, so that a name is one file. */
export const EXTENSION = 'sif';

export function connect({ name, options, env }: DriverContext<typeof declaration.options>): Service {
  const { base: address, token } = options;
  const base = new URL(address.endsWith('/') ? address : `${address}/`);
  const http = createHttp({
    base,
    env,
    ...(token && { headers: { authorization: `Bearer ${token}` } }),
    hints: { UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`` },
  });
  return { http, base };
}

/** The folder of a collection; undefined where it cannot be one: `..` must not lead out of the base. */
export function folderUrl({ base }: Service, collection: string): URL | undefined {
  const folders = foldersOf(collection);
  return folders && new URL(folders.map((folder) => `${encodeURIComponent(folder)}/`).join(''), base);
}

/** The file of an image; undefined where its name cannot be that of one. */
export function fileUrl(service: Service, name: ImageName): URL | undefined {
  const folder = folderUrl(service, folderOf(name));
  const file = formatFileName(name, EXTENSION);
  return folder && parseEntry(file) && new URL(encodeURIComponent(file), folder);
}

/** The file beside an image's that holds its metadata. */
export function metadataUrl(image: URL): URL {
  return new URL(`${image.href}.json`);
}
