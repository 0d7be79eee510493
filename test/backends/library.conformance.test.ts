import driver from '../../src/backends/library/index.ts';
import { type FakeLibraryOptions, LIBRARY_TOKEN, startFakeLibrary } from '../servers/library.ts';
import { conformance } from './conformance.ts';

/** Libraries as they are: Sylabs cloud, Hinkskalle, and one of long ago. */
const LIBRARIES: Readonly<Record<string, FakeLibraryOptions>> = {
  'library (presigned URLs)': {},
  'library (sends files itself, no parts)': {
    files: 'own',
    checks: false,
    partSize: 0,
    version: '2.0.0-alpha.1',
  },
};

for (const [name, options] of Object.entries(LIBRARIES))
  conformance({
    name,
    create: async () => {
      const library = await startFakeLibrary(options);
      return {
        origin: library.url,
        collection: 'lab',
        connect: ({ origin, env }) =>
          driver.create({
            name: 'library',
            options: { base: origin, token: LIBRARY_TOKEN, arch: 'amd64' },
            env,
          }),
        names: ['a.b-c_d:V1.2-rc3', '0:0'],
        close: () => library.close(),
      };
    },
    lacks: {
      depth: 'a name has three parts',
      pages: 'a listing is one page',
      annotations: 'a library stores none',
      copy: 'a tag belongs to a container',
      share: 'whoever has the name can pull it',
      renewal: 'a token is right or wrong',
      ...(options.partSize === 0 && { resume: 'a file is sent at once' }),
    },
  });
