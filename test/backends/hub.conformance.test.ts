import { createHub } from '../../src/backends/hub/index.ts';
import { formatImageName } from '../../src/image/names.ts';
import { startFakeHub } from '../servers/fake-hub.ts';
import { conformance } from './conformance.ts';

const readOnly = 'the archive is read-only';

conformance({
  name: 'hub',
  create: async () => {
    const hub = await startFakeHub({ direct: true, pageSize: 5 });
    return {
      origin: hub.url,
      connect: ({ origin, env }) =>
        createHub({ name: 'hub', options: { base: `${origin}/api` }, env }, { listTtl: 0 }),
      put: async (name, bytes) => void hub.put(formatImageName(name), bytes),
      names: ['TomHarrop/Singularity-Containers:five.accessions_1', 'a-b/c_d.e:2.0-RC1'],
      pages: { size: 5 },
      close: () => hub.close(),
    };
  },
  lacks: {
    push: readOnly,
    remove: readOnly,
    copy: readOnly,
    annotations: readOnly,
    resume: readOnly,
    share: 'whoever has the name can pull it',
    renewal: 'nobody logs in',
  },
});
