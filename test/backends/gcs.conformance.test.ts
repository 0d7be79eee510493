import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import gcs from '../../src/backends/gcs/index.ts';
import { startFakeGcs } from '../servers/fake-gcs.ts';
import { workloadIdentity } from '../servers/google-credentials.ts';
import { conformance } from './conformance.ts';

const MEGABYTE = 1024 * 1024;

conformance({
  name: 'gcs',
  create: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-gcs-'));
    const service = await startFakeGcs({ tokens: true, pageSize: 5, rewriteStep: 30_000 });
    const credentials = join(folder, 'identity.json');
    await workloadIdentity(folder, credentials, service.url);
    return {
      origin: service.url,
      connect: ({ origin, env }) =>
        gcs.create({
          name: 'gcs',
          options: {
            bucket: service.bucket,
            base: origin,
            credentials,
            private: false,
            anonymous: false,
            project: undefined,
          },
          env,
        }),
      names: [
        'Upper/Case:V1',
        'with space/a b:c d',
        'per%cent+plus&and=so:~1',
        'ünïcode/漢字:✓',
        "quo'te/(par):*!",
      ],
      pages: { size: 5 },
      // More than one of the chunks it sends.
      large: 20 * MEGABYTE,
      close: async () => {
        await service.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
});
