import globus from '../../src/backends/globus/index.ts';
import { CLIENT_ID, TRANSFER_SCOPE } from '../servers/globus/auth.ts';
import { startFakeGlobus } from '../servers/globus.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'globus',
  create: async () => {
    const service = await startFakeGlobus();
    const { id, scopes } = await service.add({ kind: 'mapped' });
    const login = service.auth.login(`${TRANSFER_SCOPE}[*${scopes.dataAccess}] ${scopes.https}`);
    return {
      origin: service.url,
      connect: ({ origin, env }) =>
        globus.create({
          name: 'globus',
          options: {
            login: JSON.stringify(login),
            identity: undefined,
            endpoint: id,
            path: '.singularity/shub',
            localEndpoint: undefined,
            localFolder: undefined,
            localPath: undefined,
            clientId: CLIENT_ID,
            transferBase: origin,
            // Tokens come from elsewhere: the faults of the suite are those of the other services.
            authBase: service.url,
          },
          env: { ...env, SREGISTRY_CREDENTIALS_CACHE: service.folder },
        }),
      names: ['Upper/Case:V1', 'with space/a b:c d', 'per%cent+plus&and=so?#:~1', 'ünïcode/漢字:✓'],
      close: () => service.close(),
    };
  },
  lacks: {
    share: 'who may read is decided for folders, in the permissions of a guest collection',
    pages: 'a listing is one page of up to 50,000 entries',
    resume: 'a PUT is all or nothing',
  },
});
