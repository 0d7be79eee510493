/** /etc/fuse.conf, which tells fusermount what ordinary users may do; see mount.fuse3(8). */
import { readFile } from 'node:fs/promises';
import { SregistryError, systemCode } from '../base/errors.ts';

const FUSE_CONF = '/etc/fuse.conf';

/**
 * Throws SETTINGS unless this user may share a mount with others (`allow_other`). Root always may. A file that cannot be read
 * forbids nothing here: fusermount, which can, decides.
 */
export async function requireSharing(uid = process.getuid?.(), file = FUSE_CONF): Promise<void> {
  if (uid === 0) return;
  const text = await readFile(file, 'utf8').catch((error) =>
    systemCode(error) === 'ENOENT' ? '' : undefined,
  );
  if (text === undefined || /^\s*user_allow_other\s*$/m.test(text)) return;
  throw new SregistryError(
    'SETTINGS',
    `${file} does not have user_allow_other: only root may share a mount`,
    {
      hint: `As root: echo user_allow_other >> ${file}. Or mount without --allow-other`,
    },
  );
}
