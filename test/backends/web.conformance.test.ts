import driver from '../../src/backends/web/index.ts';
import { startFileServer } from '../servers/file-server.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'http',
  create: async () => {
    const server = await startFileServer();
    return {
      origin: server.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'http',
          options: { base: `${origin}/`, username: 'tester', password: 'tester-secret', nohttps: undefined },
          env,
        }),
      put: ({ collection, image, tag }, bytes) => server.put(`${collection}/${image}:${tag}.sif`, bytes),
      names: [
        'Upper/Case:V1',
        'with space/a b:c d',
        'per%cent+plus&and=so?#:~1',
        'ünïcode/漢字:✓',
        `quo"te'<a>:1`,
      ],
      close: () => server.close(),
    };
  },
  lacks: {
    push: 'a web server is read-only',
    remove: 'a web server is read-only',
    copy: 'a web server is read-only',
    pages: 'an index is one page',
    annotations: 'a web server keeps files alone',
    renewal: 'a password is right or wrong',
  },
});
