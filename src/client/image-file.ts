/** Image files on this machine that people name in commands. */
import { stat } from 'node:fs/promises';
import { isError, SregistryError } from '../base/errors.ts';
import { fileError } from '../base/files.ts';
import { type Identification, identify } from '../image/format.ts';
import { inspectFile } from '../image/metadata.ts';
import { openFileSource } from '../image/source.ts';

export interface LocalImage extends Identification {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
}

/** Identifies a file. Throws NOT_FOUND or FORBIDDEN as the file system does, NOT_AN_IMAGE if it is not a regular file. */
export async function identifyFile(path: string): Promise<LocalImage> {
  try {
    if (!(await stat(path)).isFile()) {
      throw new SregistryError('NOT_AN_IMAGE', `${path} is not a file`, {
        hint: 'Build one from a sandbox: apptainer build image.sif FOLDER',
      });
    }
    await using source = await openFileSource(path);
    return { path, size: source.size, ...(await identify(source)) };
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** Throws NOT_AN_IMAGE unless the file is a whole image. */
export async function requireWholeImage(path: string): Promise<LocalImage> {
  const image = await identifyFile(path);
  if (image.state === 'whole') return image;
  throw new SregistryError('NOT_AN_IMAGE', `${path} is not a whole image: ${image.reason}`, {
    hint:
      image.state === 'partial'
        ? 'It is truncated or still being written: download it again, or wait for its writer'
        : 'An image is a SIF, a SquashFS or a Singularity 2 file',
  });
}

/** What the library keeps of an image beside its names; empty if its inside cannot be read. */
export async function metricsOfFile(
  path: string,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const { data } = await inspectFile(path, signal);
    return { data };
  } catch (error) {
    if (isError(error, 'NOT_AN_IMAGE', 'CORRUPT')) return {};
    throw error;
  }
}
