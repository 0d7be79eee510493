/** What the commands on images of the library share. */

import type { Container } from '../catalog/container.ts';
import type { Library } from '../catalog/library.ts';
import { openUserLibrary } from '../client/library.ts';

export async function withLibrary<T>(
  env: NodeJS.ProcessEnv,
  body: (library: Library) => Promise<T>,
): Promise<T> {
  const library = openUserLibrary(env);
  try {
    return await body(library);
  } finally {
    library.close();
  }
}

/** An image of the library as commands print it with `--json`. */
export function containerJson({ uri, client, file, url }: Container): object {
  return { uri, client, path: file, url };
}
