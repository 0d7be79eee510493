import driver from '../../src/backends/webdav/index.ts';
import { startWebdav, WEBDAV_LOGIN } from '../servers/webdav.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'webdav',
  needs: { webdav: true },
  create: async () => {
    const server = await startWebdav();
    return {
      origin: server.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'webdav',
          options: { base: origin, ...WEBDAV_LOGIN, token: undefined },
          env,
        }),
      names: ['Upper/Case:V1', 'with space/a b:c d', 'per%cent+plus&and=so?#:~1', 'ünïcode/漢字:✓'],
      close: () => server.stop(),
    };
  },
  lacks: {
    share: 'the protocol has no links',
    pages: 'a listing is one page',
    renewal: 'a password is right or wrong',
    resume: 'a PUT is all or nothing',
  },
});
