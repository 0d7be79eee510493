import type { ImageName } from './name.ts';

/** `[registry/]collection`: the folder an image is shown in, `''` at the top. */
export function folderOf(name: Pick<ImageName, 'registry' | 'collection'>): string {
  return [name.registry, name.collection].filter(Boolean).join('/');
}
