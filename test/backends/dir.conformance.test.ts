import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import driver from '../../src/backends/dir/index.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'dir',
  http: false,
  create: async () => {
    const base = await mkdtemp(join(tmpdir(), 'sregistry-dir-'));
    return {
      connect: ({ env }) => driver.create({ name: 'dir', options: { base }, env }),
      names: ['Upper/Case:V1', 'with space/a b:c d', 'per%cent+plus&and=so:~1', 'ünïcode/漢字:✓'],
      close: () => rm(base, { recursive: true, force: true }),
    };
  },
  lacks: {
    share: 'a path is all there is to share',
    pages: 'a directory is read whole',
    resume: 'a copy on a file system is begun anew',
  },
});
