import dropbox from '../../src/backends/dropbox/index.ts';
import { startFakeDropbox } from '../servers/dropbox.ts';
import { OAUTH_CLIENT, startOAuthServer } from '../servers/oauth-server.ts';
import { conformance } from './conformance.ts';

const MEGABYTE = 1024 * 1024;

conformance({
  name: 'dropbox',
  create: async () => {
    const oauth = await startOAuthServer({ rotates: false });
    const service = await startFakeDropbox({
      accepts: (token) => oauth.given.some(({ access_token }) => access_token === token),
      pageSize: 5,
      oauth: oauth.url,
    });
    oauth.given.push({ access_token: 'spent', refresh_token: 'login' });
    return {
      origin: service.url,
      connect: ({ origin, env }) =>
        dropbox.create({
          name: 'dropbox',
          options: {
            token: undefined,
            clientId: OAUTH_CLIENT.clientId,
            refreshToken: 'login',
            root: 'sregistry',
            pathRoot: undefined,
            base: origin,
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
      exempt: ({ url }) => url === '/oauth2/token',
      // More than one of the parts it sends.
      large: 20 * MEGABYTE,
      close: async () => {
        await service.close();
        await oauth.close();
      },
    };
  },
});
