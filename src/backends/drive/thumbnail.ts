/** The picture that Drive shows for an image, as `contentHints` of an upload (resource "files"). */
import { readFile } from 'node:fs/promises';
import { SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { getThumbnail } from '../../image/thumbnail.ts';

/** Bytes: the largest picture that Drive accepts ("Upload thumbnails"). */
const LARGEST = 2 * 1024 * 1024;

/** The kinds of pictures that Drive accepts, by their first bytes. */
const KINDS: readonly [RegExp, string][] = [
  [/^\x89PNG/, 'image/png'],
  [/^\xff\xd8\xff/, 'image/jpeg'],
  [/^GIF8/, 'image/gif'],
  [/^RIFF....WEBP/s, 'image/webp'],
];

/** @throws {SregistryError} SETTINGS for a picture that Drive would refuse. */
export async function thumbnailHints(path: string | undefined): Promise<object> {
  const file = getThumbnail({ SREGISTRY_THUMBNAIL: path });
  const bytes = await readFile(file).catch((error: unknown) => {
    throw fileError('read', file, error);
  });
  const start = bytes.toString('latin1', 0, 16);
  const mimeType = KINDS.find(([magic]) => magic.test(start))?.[1];
  if (mimeType === undefined || bytes.length > LARGEST)
    throw new SregistryError('SETTINGS', `${file} cannot be the thumbnail of an image in Google Drive`, {
      hint: 'set SREGISTRY_THUMBNAIL to a PNG, JPEG, GIF or WebP file of at most 2 MB',
    });
  return { thumbnail: { image: bytes.toString('base64url'), mimeType } };
}
