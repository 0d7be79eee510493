import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { requireSharing } from '../../src/fs/fuse-conf.ts';
import { temporaryFolder } from './support.ts';

const KIM = 1000;

describe('A mount that is shared with other users', () => {
  test.each([
    ['no file', undefined],
    ['an empty file', ''],
    ['the line as a comment', '# mount_max = 5\n#user_allow_other\n'],
    ['another word', 'user_allow_others\n'],
  ])('is refused to an ordinary user with the line that is missing: %s', async (_, text) => {
    const file = join(await temporaryFolder(), 'fuse.conf');
    if (text !== undefined) await writeFile(file, text);
    await expect(requireSharing(KIM, file)).rejects.toMatchObject({
      code: 'SETTINGS',
      message: expect.stringContaining('user_allow_other'),
      hint: expect.stringContaining(`echo user_allow_other >> ${file}`),
    });
  });

  test('needs the line in fuse.conf, or root.', async () => {
    const file = join(await temporaryFolder(), 'fuse.conf');
    await requireSharing(0, file);
    await writeFile(file, '# users\n  user_allow_other \nmount_max = 5\n');
    await requireSharing(KIM, file);
  });
});
