/** The architecture that an image file is for. */
import { isError } from '../base/errors.ts';
import { readSifHeader } from './sif.ts';
import { openFileSource } from './source.ts';

/** What the header of a SIF says, as Go names it; undefined if it does not say, or if the file is not a SIF. */
export async function sifArchitecture(path: string): Promise<string | undefined> {
  await using source = await openFileSource(path);
  try {
    const architecture = (await readSifHeader(source))?.architecture;
    return architecture === 'unknown' ? undefined : architecture;
  } catch (error) {
    if (isError(error, 'NOT_AN_IMAGE')) return undefined;
    throw error;
  }
}
