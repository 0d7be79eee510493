/**
 * The metadata that goes with an image into a registry or the catalog: its name's parts and what `inspect` tells, the
 * same whether Singularity is installed or not.
 */
import { basename } from 'node:path';
import { isError } from '../base/errors.ts';
import { type Image, openImage, openRoot } from './image.ts';
import { type Inspection, inspectImage, unreadable } from './inspect.ts';
import { type ParsedName, parseImageName, removeUri } from './names.ts';
import { inspectWithSingularity } from './singularity.ts';
import { openFileSource } from './source.ts';
import { SquashFs } from './squashfs/filesystem.ts';

export type Names = Omit<ParsedName, 'original'>;

/** In the terms of the Python client; `olderView` gives `data` under the names it had there. */
export interface Metadata extends Names, Inspection {
  /** When the image was built, ISO 8601; undefined if it does not say. */
  readonly created?: string | undefined;
}

/**
 * Metadata of an image file.
 * @param names default: what the file's own name tells.
 *
 * @throws {SregistryError} NOT_AN_IMAGE if it is not an image, CORRUPT if it is not whole, INVALID_NAME; also file system errors.
 * An image whose inside cannot be read is not an error: `unknown` says so.
 */
export async function getMetadata(file: string, names?: Names, signal?: AbortSignal): Promise<Metadata> {
  const { registry, collection, image, tag, version, url, uri, storage } =
    names ?? parseImageName(basename(removeUri(file)));
  const { created, ...inspection } = await inspectFile(file, signal);
  return { registry, collection, image, tag, version, url, uri, storage, ...inspection, created };
}

/** `inspect` of a file, with Singularity's help where it is installed and needed, and the date of the build. */
export async function inspectFile(
  file: string,
  signal?: AbortSignal,
): Promise<Inspection & Pick<Metadata, 'created'>> {
  await using source = await openFileSource(file);
  const image = await openImage(source);
  const inspection = await inspectImage(image).catch(unreadable);
  const created = await buildDate(image);
  if (inspection.unknown === undefined) return { ...inspection, created };
  const attributes = await inspectWithSingularity(file, signal);
  if (attributes === undefined) return { ...inspection, created };
  return { data: { attributes }, type: 'container', created };
}

async function buildDate(image: Image): Promise<string | undefined> {
  if (image.sif !== undefined) return image.sif.header.created?.toISOString();
  try {
    const root = await openRoot(image);
    return root instanceof SquashFs ? root.superblock.modified.toISOString() : undefined;
  } catch (error) {
    if (isError(error, 'NOT_AN_IMAGE', 'CORRUPT')) return undefined;
    throw error;
  }
}
