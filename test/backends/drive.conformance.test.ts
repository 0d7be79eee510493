import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import drive from '../../src/backends/drive/index.ts';
import { startFakeDrive } from '../servers/drive.ts';
import { googleOAuthClient } from '../servers/google-credentials.ts';
import { OAUTH_CLIENT, startOAuthServer } from '../servers/oauth-server.ts';
import { conformance } from './conformance.ts';

const MEGABYTE = 1024 * 1024;

conformance({
  name: 'drive',
  create: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-drive-'));
    const oauth = await startOAuthServer({ rotates: true, once: true });
    const service = await startFakeDrive({
      accepts: (token) => oauth.given.some(({ access_token }) => access_token === token),
      pageSize: 5,
    });
    const credentials = join(folder, 'client.json');
    await writeFile(credentials, JSON.stringify(googleOAuthClient(oauth.url, OAUTH_CLIENT.clientId)));
    const first = { access_token: 'spent', refresh_token: 'first' };
    oauth.given.push(first);
    return {
      origin: service.url,
      connect: ({ origin, env }) =>
        drive.create({
          name: 'google-drive',
          options: {
            credentials,
            base: origin,
            refreshToken: first.refresh_token,
            root: 'sregistry',
            folder: undefined,
            sharedDrive: undefined,
            scope: 'drive',
            thumbnail: undefined,
            acknowledgeAbuse: false,
          },
          env: { ...env, SREGISTRY_CREDENTIALS_CACHE: folder },
        }),
      names: [
        'Upper/Case:V1',
        'with space/a b:c d',
        'per%cent+plus&and=so:~1',
        'ünïcode/漢字:✓',
        "quo'te/(par):*!",
        'back\\slash/a\\b:1',
      ],
      pages: { size: 5 },
      // More than one of the chunks it sends.
      large: 20 * MEGABYTE,
      close: async () => {
        await service.close();
        await oauth.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
});
