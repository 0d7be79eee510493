import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

const DEFAULT_MOUNTPOINT = '/mnt/sregistry';

/** The mount point that is meant, as the kernel lists it: absolute, without symbolic links. */
export async function mountpointOf(given: string | undefined, env: NodeJS.ProcessEnv): Promise<string> {
  return withoutLinks(resolve(given ?? (env.SREGISTRY_MOUNTPOINT || DEFAULT_MOUNTPOINT)));
}

/** For a path that does not exist, or a mount whose process is dead, resolves the folder above it and keeps the name. */
async function withoutLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const folder = dirname(path);
    return folder === path ? path : join(await withoutLinks(folder), basename(path));
  }
}
