import driver from '../../src/backends/template/index.ts';
import { startFileServer } from '../servers/file-server.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'template',
  create: async () => {
    const server = await startFileServer({ writable: true, index: 'nginxJson' });
    return {
      origin: server.url,
      connect: ({ origin, env }) =>
        driver.create({ name: 'template', options: { base: origin, token: 'tester-token' }, env }),
      names: ['Upper/Case:V1', 'with space/a b:c d', 'per%cent+plus&and=so?#:~1', 'ünïcode/漢字:✓'],
      close: () => server.close(),
    };
  },
  lacks: {
    copy: 'the service cannot copy',
    pages: 'an index is one page',
    renewal: 'the token is right or wrong',
    resume: 'a PUT is all or nothing',
  },
});
