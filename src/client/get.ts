/** Finds one image of the library, of several that one name may have had. */
import { existsSync } from 'node:fs';
import { parsePlatform } from '../base/platform.ts';
import type { Container } from '../catalog/container.ts';
import { inspectedOf } from '../catalog/labels.ts';
import type { Library, Query } from '../catalog/library.ts';
import { sifArchitecture } from '../image/architecture.ts';
import { formatImageName } from '../image/names.ts';

/**
 * The image of a name that was added last; with `arch`, the last one for that architecture. A file has no variant of its architecture, so
 * that of `arch` does not matter.
 */
export async function getImage(
  library: Library,
  query: Query,
  arch?: string,
): Promise<Container | undefined> {
  const wanted = arch === undefined ? undefined : parsePlatform(arch).architecture;
  const newest = library.get(query);
  if (newest === undefined || wanted === undefined) return newest;
  if ((await architectureOf(newest)) === wanted) return newest;
  const plain = ({ name }: Container) => formatImageName({ ...name, version: undefined });
  for (const other of library.images(newest.name.image)) {
    const isNamesake = plain(other) === plain(newest);
    if (isNamesake && (await architectureOf(other)) === wanted) return other;
  }
  return undefined;
}

/** That of the file, else what the image said of itself when it was added. */
async function architectureOf({ file, metrics }: Container): Promise<string | undefined> {
  const stated = file !== undefined && existsSync(file) ? await sifArchitecture(file) : undefined;
  return stated ?? inspectedOf(metrics)?.labels?.['org.label-schema.build-arch'];
}
