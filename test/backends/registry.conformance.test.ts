import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import driver from '../../src/backends/registry/index.ts';
import { REGISTRY_LOGIN, startRegistryServer } from '../servers/registry-server.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'registry',
  create: async () => {
    const server = await startRegistryServer();
    const state = await mkdtemp(join(tmpdir(), 'sregistry-registry-'));
    return {
      origin: server.url,
      flat: true,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'registry',
          options: { base: origin, ...REGISTRY_LOGIN, nohttps: undefined },
          env: { ...env, XDG_STATE_HOME: state },
        }),
      names: ['Upper:Case_1', 'a+b:1'],
      close: async () => {
        await server.close();
        await rm(state, { recursive: true });
      },
    };
  },
  lacks: {
    depth: 'the server has one level of collections',
    case: 'the server keeps names in lower case',
    ranges: 'the server sends whole files',
    pages: 'the images of a collection are one page',
    annotations: 'the server takes none',
    copy: 'the API copies nothing',
    share: 'a link to share is made on the web page of the server',
    renewal: 'a token is right or wrong',
    resume: 'a form is sent at once',
  },
});
