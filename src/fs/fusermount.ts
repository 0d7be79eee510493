import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { packagedFile } from '../base/package.ts';

/**
 * libfuse 2 starts a program called `fusermount`. If a machine has only FUSE 3's, `fusermount3`, this adds a folder to the end of
 * PATH that has it under that name. The two understand the same calls.
 */
export function provideFusermount(env: NodeJS.ProcessEnv = process.env): void {
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
  const has = (program: string) => folders.some((folder) => existsSync(join(folder, program)));
  if (has('fusermount') || !has('fusermount3')) return;
  env.PATH = [...folders, packagedFile('assets/fusermount')].join(delimiter);
}
