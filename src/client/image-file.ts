/** Image files on this machine, as they are given to commands. */
import { stat } from 'node:fs/promises';
import { SregistryError } from '../base/errors.ts';
import { fileError } from '../base/files.ts';
import { type Identification, identify } from '../image/format.ts';
import { inspect } from '../image/inspect.ts';
import { openFileSource } from '../image/source.ts';

export interface LocalImage extends Identification {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
}

/** What a file is. NOT_FOUND and FORBIDDEN as the file system says, NOT_AN_IMAGE for what is no file. */
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

/** Refuses what is not a whole image with NOT_AN_IMAGE. */
export async function requireWholeImage(path: string): Promise<LocalImage> {
  const image = await identifyFile(path);
  if (image.state === 'whole') return image;
  throw new SregistryError('NOT_AN_IMAGE', `${path} is not a whole image: ${image.reason}`, {
    hint:
      image.state === 'partial'
        ? 'It is truncated or still being written: get it again from where it came'
        : 'An image is a SIF, a SquashFS or a Singularity 2 file',
  });
}

/** Labels in the image itself; none where they cannot be read. */
export async function labelsOfFile(path: string): Promise<Readonly<Record<string, string>>> {
  await using source = await openFileSource(path);
  const found = await inspect(source).catch(() => undefined);
  return found?.data.attributes.labels ?? {};
}
