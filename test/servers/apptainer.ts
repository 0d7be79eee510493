/** Genuine Apptainer for tests, through the script `apptainer` beside this file. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** Where test servers keep what they fetched and built, for the next run. Git ignores the default. */
export const TEST_STATE = process.env.SREGISTRY_TEST_STATE ?? join(import.meta.dirname, '../.state');

const WRAPPER = join(import.meta.dirname, 'apptainer');

export interface ApptainerOptions {
  cwd?: string;
  /** Added to the environment of the test process. */
  env?: Record<string, string>;
  /** Milliseconds, default one minute; Apptainer is killed then. */
  timeout?: number;
}

export interface ApptainerResult {
  /** The exit code; 255 is Apptainer's own for most failures. */
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs `apptainer ARGS...` to its end. A failure of Apptainer is a result, not an error; being killed is an error. */
export async function apptainer(args: string[], options: ApptainerOptions = {}): Promise<ApptainerResult> {
  const { env, timeout = 60_000, ...rest } = options;
  try {
    const running = promisify(execFile)(WRAPPER, args, {
      ...rest,
      env: { ...process.env, ...env },
      timeout,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024 * 1024,
    });
    // A question gets no answer instead of waiting for one.
    running.child.stdin?.end();
    const output = await running;
    return { code: 0, ...output };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
    if (typeof code === 'number') return { code, stdout, stderr };
    throw error;
  }
}

let unavailable: { reason: string | undefined } | undefined;

/** Why Apptainer cannot be run here, or undefined where it can. Fetches nothing: that is for `scripts/setup --test`. */
export function apptainerUnavailable(): string | undefined {
  unavailable ??= { reason: findReason() };
  return unavailable.reason;
}

function findReason(): string | undefined {
  if (!isOnPath('apptainer')) {
    if (process.getuid?.() !== 0) return 'Apptainer is not installed, and the one for tests needs root';
    if (!existsSync(join(TEST_STATE, 'sid'))) return 'Apptainer has not been fetched (scripts/setup --test)';
  }
  const { status, stderr } = spawnSync(WRAPPER, ['version'], { encoding: 'utf8', timeout: 30_000 });
  return status === 0 ? undefined : `Apptainer does not run: ${stderr.trim()}`;
}

function isOnPath(command: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, command)));
}
