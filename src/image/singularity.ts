/** Asks Apptainer or Singularity, if installed, about images that only they can open: ext file systems, encrypted images. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '../base/errors.ts';
import { type Attributes, toAttributes } from './attributes.ts';

const PROGRAMS = ['apptainer', 'singularity'];
/** Milliseconds: it mounts the image and runs a shell in it. If it takes longer, it prompts or hangs. */
const TIMEOUT = 60_000;
const MAX_OUTPUT = 32 * 1024 * 1024;

const run = promisify(execFile);

/**
 * The answer of `inspect --json --all` for an image file. Undefined if neither program is installed, or if it cannot open the
 * image.
 */
export async function inspectWithSingularity(
  path: string,
  signal?: AbortSignal,
): Promise<Attributes | undefined> {
  for (const program of PROGRAMS) {
    // Look first: starting a missing program blocks a large process for 10 ms, at every push of a mount.
    if (!(await isInstalled(program))) continue;
    try {
      const options = { timeout: TIMEOUT, maxBuffer: MAX_OUTPUT, ...(signal && { signal }) };
      const { stdout } = await run(program, ['inspect', '--json', '--all', path], options);
      return toAttributes(JSON.parse(stdout).data.attributes);
    } catch (error) {
      signal?.throwIfAborted();
      if (systemCode(error) !== 'ENOENT') return undefined;
    }
  }
  return undefined;
}

async function isInstalled(program: string): Promise<boolean> {
  for (const folder of process.env.PATH?.split(delimiter) ?? []) {
    const isThere = await access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return true;
  }
  return false;
}
