/**
 * Tests that need something of the machine. Where it is missing they are skipped, counted, and say why in their name;
 * with `CI=true` nothing may be missing, so there they fail with the reason.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { describe, test } from 'vitest';
import { apptainerUnavailable } from '../servers/apptainer.ts';
import { registryUnavailable } from '../servers/docker-registry.ts';
import { s3Unavailable } from '../servers/s3.ts';
import { swiftUnavailable } from '../servers/swift.ts';
import { rcloneUnavailable, webdavUnavailable } from '../servers/webdav.ts';

/** What a test may need: each answers why it is missing, or undefined. */
const CHECKS = {
  /** Mounting: /dev/fuse, FUSE 2's library, fuse-native. */
  fuse: fuseUnavailable,
  /** docker-registry, see ../servers/docker-registry.ts. */
  registry: registryUnavailable,
  /** Apptainer, see ../servers/apptainer.ts. */
  apptainer: apptainerUnavailable,
  /** An S3 service, see ../servers/s3.ts. */
  s3: s3Unavailable,
  /** nginx with its WebDAV modules, see ../servers/webdav.ts. */
  webdav: webdavUnavailable,
  rclone: rcloneUnavailable,
  /** OpenStack Swift, see ../servers/swift.ts. */
  swift: swiftUnavailable,
  /** umoci and skopeo, which make and unpack images in layers. */
  umoci: () => missingPrograms('umoci', 'skopeo'),
  /** systemd's own programs, and a listener for what is told to it. */
  systemd: () => missingPrograms('systemd-analyze', 'systemd-notify', 'python3'),
  /** The check of Debian's packages. */
  lintian: () => missingPrograms('lintian'),
  /** What shows man pages, and their check. */
  man: () => missingPrograms('man', 'mandoc', 'groff'),
  root: () => (process.getuid?.() === 0 ? undefined : 'the tests do not run as root'),
} satisfies Record<string, () => string | undefined>;

export type Need = keyof typeof CHECKS;

/**
 * `describe` where everything needed is there: `needs({ fuse: true })('a mount', () => { ... })`.
 */
export function needs(wanted: Partial<Record<Need, boolean>>): (name: string, body: () => void) => void {
  const missing = (Object.keys(wanted) as Need[])
    .filter((need) => wanted[need])
    .map((need) => CHECKS[need]())
    .filter((reason) => reason !== undefined);
  if (missing.length === 0) return describe;

  const reason = missing.join('; ');
  if (process.env.CI !== 'true') return (name, body) => describe.skip(`${name} (${reason})`, body);
  return (name) =>
    describe(name, () => {
      test('has what it needs', () => {
        throw new Error(reason);
      });
    });
}

function missingPrograms(...names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const missing = names.filter((name) => !folders.some((folder) => existsSync(join(folder, name))));
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')} (scripts/setup --test)`;
}

function fuseUnavailable(): string | undefined {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    createRequire(import.meta.url)('fuse-native');
    return undefined;
  } catch (error) {
    const [firstLine] = String((error as Error).message).split('\n');
    return `nothing can be mounted here: ${firstLine}`;
  }
}
