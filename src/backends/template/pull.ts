/**
 * Step 5, pull: what a name stands for now, any range of its bytes, and what is in a collection. The mount, the cache and
 * `sregistry pull` are made of these three.
 */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import { toStrings } from '../../image/attributes.ts';
import type { ImageName } from '../../image/name.ts';
import type { ListEntry, RemoteImage } from '../backend.ts';
import { type FileLocation, findFile, readFile } from '../http-file.ts';
import { isVisible, parseEntry } from '../kit/layout.ts';
import { EXTENSION, fileUrl, folderUrl, metadataUrl, type Service } from './service.ts';

/** Undefined only where the service says that there is none; `findFile` makes errors of all else. */
export async function resolveImage(
  service: Service,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const url = fileUrl(service, name);
  const file = url && (await findFile(service.http, url, { signal }));
  if (url === undefined || file === undefined) return undefined;
  return {
    name,
    size: file.size,
    modified: file.modified,
    // Whatever changes when the bytes do: a digest, a generation; here the entity tag.
    revision: file.revision,
    annotations: await readMetadata(service, url, signal),
    extension: EXTENSION,
    // What it takes to read the image again, as plain JSON: the catalog keeps it.
    handle: file.location,
  };
}

async function readMetadata(
  { http }: Service,
  image: URL,
  signal?: AbortSignal,
): Promise<Record<string, string> | undefined> {
  const reply = await http.get(metadataUrl(image), { allow: [404], signal });
  // What a service sends is anyone's: only what has the right shape is used.
  return reply.status === 404 ? undefined : toStrings(reply.json());
}

/** Exactly these bytes of exactly that revision, or the error STALE. */
export function readImage(
  { http }: Service,
  { handle, size }: RemoteImage,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Readable> {
  return readFile(http, handle as FileLocation, { offset, length, size, signal });
}

/** Entries of other kinds than an image or a folder are left out: the service may hold more than images. */
export async function* listCollection(
  service: Service,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const folder = folderUrl(service, collection);
  if (folder === undefined)
    throw new SregistryError('NOT_FOUND', `There is no folder ${collection} in ${service.base.href}`);
  // A service whose listings come in pages: `for await (const page of http.paginate(folder)) ...`
  const listed = (await service.http.get(folder, { signal })).json();
  if (!Array.isArray(listed)) throw new SregistryError('SERVICE', `${folder.href}: the answer is no listing`);
  for (const { name, type } of listed.map(toStrings)) {
    if (name === undefined) continue;
    if (type === 'directory' && isVisible(name)) yield { kind: 'collection', name };
    const parsed = type === 'file' ? parseEntry(name) : undefined;
    if (parsed === undefined) continue;
    const { image, tag, version, extension } = parsed;
    yield { kind: 'image', name: { collection, image, tag, version }, extension };
  }
}
