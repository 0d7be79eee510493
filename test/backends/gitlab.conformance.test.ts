import driver from '../../src/backends/gitlab/index.ts';
import { GITLAB_PROJECT, GITLAB_TOKENS, startFakeGitlab } from '../servers/gitlab.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'gitlab',
  create: async () => {
    const server = await startFakeGitlab({ page: 5 });
    return {
      origin: server.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'gitlab',
          options: {
            base: origin,
            project: GITLAB_PROJECT,
            token: GITLAB_TOKENS['private-token'],
            tokenType: undefined,
            folder: undefined,
          },
          env,
        }),
      names: [
        'Upper/Case:V1',
        'with space/a b:c d',
        'a_b__c/_d_/e..f_:1._0..1-',
        'ünïcode/漢字:✓',
        'p%q+r&s:~1',
      ],
      pages: { size: 5 },
      close: () => server.close(),
    };
  },
  lacks: {
    share: 'a link needs a token',
    copy: 'the API cannot copy files',
    renewal: 'a token is right or wrong',
    resume: 'a PUT is all or nothing',
  },
});
