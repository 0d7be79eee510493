/** Finds the file of an image: requests each file name that the image may have. */
import pMap from 'p-map';
import { isError } from '../../base/errors.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../../image/remote.ts';
import { debugLog } from '../../log/index.ts';
import type { HttpClient } from '../http.ts';
import { findFile, type HttpFile } from '../http-file.ts';
import { CHECKSUM_SUFFIX, parseChecksum } from '../kit/checksum-file.ts';
import { fileNamesOf } from '../kit/layout.ts';
import { fileUrl, folderUrl, type PlaceOptions } from './place.ts';

const debug = debugLog('http');

/** A file, and the file name under which it was found. */
interface Found {
  readonly fileName: string;
  readonly file: HttpFile;
}

/**
 * The image of a name: the file that a person wrote, if it is there; else, of several files with different extensions, the one modified
 * last.
 */
export async function resolveImage(
  http: HttpClient,
  place: PlaceOptions,
  { file: written, ...name }: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const folder = folderUrl(folderOf(name), place);
  if (folder === undefined) return undefined;
  const fileNames = fileNamesOf(name);
  const first = fileNames.filter((fileName) => fileName === written);
  const found =
    (await findNewest(http, folder, first, signal).catch(unlessAborted)) ??
    (await findNewest(http, folder, fileNames, signal));
  if (found === undefined) return undefined;
  const { fileName, file } = found;
  const { size, modified, revision, location } = file;
  return {
    name,
    size,
    modified,
    digest: await readDigest(http, file, signal),
    // Without a base, the name contains the host. Entity tags of different hosts are unrelated, so the revision includes the host.
    revision: place.base === undefined ? `${folder.host} ${revision}` : revision,
    extension: splitExtension(fileName).extension,
    handle: location,
  };
}

/** The failure counts if no other file name is found either. */
function unlessAborted(error: unknown): undefined {
  if (isError(error, 'CANCELED')) throw error;
  return undefined;
}

/**
 * The file modified last. Some servers answer 403 for a missing file, so a failure is thrown only if no other file name is found.
 */
async function findNewest(
  http: HttpClient,
  folder: URL,
  fileNames: readonly string[],
  signal?: AbortSignal,
): Promise<Found | undefined> {
  let failure: unknown;
  const found = await pMap(fileNames, async (fileName): Promise<Found[]> => {
    const file = await findFile(http, fileUrl(folder, fileName), { signal }).catch((error: unknown) => {
      failure ??= error;
    });
    return file === undefined ? [] : [{ fileName, file }];
  });
  const [newest] = found.flat().sort((one, other) => timeOf(other) - timeOf(one));
  if (newest === undefined && failure !== undefined) throw failure;
  return newest;
}

function timeOf({ file }: Found): number {
  return file.modified?.getTime() ?? 0;
}

/**
 * The digest in the image's checksum file. One that is older than the image is ignored, and so is one that cannot
 * be read, so that the image stays usable.
 */
async function readDigest(
  http: HttpClient,
  image: HttpFile,
  signal?: AbortSignal,
): Promise<string | undefined> {
  try {
    const reply = await http.get(`${image.location.url}${CHECKSUM_SUFFIX}`, { signal });
    const written = Date.parse(reply.headers['last-modified'] ?? '');
    if (image.modified !== undefined && written < image.modified.getTime()) return undefined;
    return parseChecksum(reply.text());
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('no digest of %s: %o', image.location.url, error);
    return undefined;
  }
}
