/** Where sregistry keeps its files. */
import { tmpdir, userInfo } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { SregistryError } from '../base/errors.ts';
import { closeFolderNoFollow, ensureFolderNoFollow, isOurFolder } from '../base/no-follow.ts';

/** Absolute paths. `getPaths` creates none of them. */
export interface Paths {
  readonly home: string;
  /** `SREGISTRY_CLIENT_SECRETS`, `~/.sregistry`. */
  readonly secretsFile: string;
  /** `SREGISTRY_DATABASE`, `~/.singularity`. */
  readonly databaseDir: string;
  readonly databaseFile: string;
  /** Images of the local catalog: `SREGISTRY_STORAGE`, `~/.singularity/shub`. */
  readonly storage: string;
  /** `SREGISTRY_CACHEDIR`, `$XDG_CACHE_HOME/sregistry`. */
  readonly cacheDir: string;
  /**
   * Folder of credentials, with one file or folder per backend: `.sregistry` in `SREGISTRY_CREDENTIALS_CACHE` or `~/.singularity`.
   */
  readonly credentialsCache: string;
  /**
   * Folder of sockets: in `$XDG_RUNTIME_DIR` if this user owns that, else in the temporary directory. See ensureRuntimeDir.
   */
  readonly runtimeDir: string;
  /** `$XDG_STATE_HOME/sregistry`. */
  readonly logDir: string;
}

export function getPaths(env: NodeJS.ProcessEnv = process.env): Paths {
  const home = env.HOME !== undefined && isAbsolute(env.HOME) ? env.HOME : homeOfUser();
  const own = (variable: string, fallback: string) => {
    const value = env[variable];
    if (!value) return fallback;
    return value.startsWith('~/') ? join(home, value.slice(2)) : resolve(value);
  };
  const base = (variable: string, fallback: string) => {
    const value = env[variable];
    // The XDG specification requires ignoring relative paths.
    return join(value !== undefined && isAbsolute(value) ? value : join(home, fallback), 'sregistry');
  };
  const singularity = join(home, '.singularity');
  const databaseDir = own('SREGISTRY_DATABASE', singularity);
  return {
    home,
    secretsFile: own('SREGISTRY_CLIENT_SECRETS', join(home, '.sregistry')),
    databaseDir,
    databaseFile: join(databaseDir, 'sregistry.db'),
    storage: own('SREGISTRY_STORAGE', join(singularity, 'shub')),
    cacheDir: own('SREGISTRY_CACHEDIR', base('XDG_CACHE_HOME', '.cache')),
    credentialsCache: join(own('SREGISTRY_CREDENTIALS_CACHE', singularity), '.sregistry'),
    runtimeDir: runtimeDirOf(env),
    logDir: base('XDG_STATE_HOME', '.local/state'),
  };
}

/** A container may run as a user that has no entry in its passwd file. */
function homeOfUser(): string {
  try {
    return userInfo().homedir;
  } catch (error) {
    throw new SregistryError('SETTINGS', 'This user has no home directory.', {
      hint: 'Set HOME',
      cause: error,
    });
  }
}

function runtimeDirOf(env: NodeJS.ProcessEnv): string {
  const given = env.XDG_RUNTIME_DIR;
  if (given !== undefined && isAbsolute(given) && isOurFolder(given)) return join(given, 'sregistry');
  return join(tmpdir(), `sregistry-${process.getuid?.()}`);
}

const RUNTIME_HINT = 'Remove it, or set XDG_RUNTIME_DIR to a directory of yours';

/**
 * Creates the runtime directory with mode 0700 and returns it. Its owner can control the mounts whose sockets lie in it, so another
 * user's directory, or a symbolic link, is refused with the error SETTINGS.
 */
export function ensureRuntimeDir(runtimeDir: string = getPaths().runtimeDir): string {
  ensureFolderNoFollow(runtimeDir, RUNTIME_HINT);
  return runtimeDir;
}

/** Does the runtime directory exist? Throws SETTINGS, like {@link ensureRuntimeDir}, if another user has access to it. */
export function hasRuntimeDir(runtimeDir: string): boolean {
  return closeFolderNoFollow(runtimeDir, RUNTIME_HINT);
}

/** Creates the log directory with mode 0700, or closes an existing one to other users. Throws SETTINGS if another user owns it. */
export function ensureLogDir(logDir: string): void {
  ensureFolderNoFollow(logDir, LOG_HINT);
}

export const LOG_HINT = 'Remove it, or set XDG_STATE_HOME to a directory of yours';
