import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import driver from '../../src/backends/local/index.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'local',
  http: false,
  create: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-local-'));
    const places = { SREGISTRY_DATABASE: join(folder, 'db'), SREGISTRY_STORAGE: join(folder, 'shub') };
    return {
      connect: ({ env }) => driver.create({ name: 'local', options: {}, env: { ...env, ...places } }),
      names: ['with space/a b:c d', 'per%cent+plus&and=so:~1', 'ünïcode/漢字:✓'],
      close: () => rm(folder, { recursive: true, force: true }),
    };
  },
  lacks: {
    share: 'it is this machine alone that has the images',
    check: 'there is nothing to reach',
    pages: 'the database is read whole',
    resume: 'a copy on a file system is begun anew',
  },
});
