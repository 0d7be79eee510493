import driver from '../../src/backends/nvidia/index.ts';
import oci from '../../src/backends/oci/index.ts';
import { REGISTRY_LOGIN, startRegistry } from '../servers/docker-registry.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'nvidia',
  needs: { registry: true },
  create: async () => {
    const registry = await startRegistry({ auth: 'basic' });
    const { username, password } = REGISTRY_LOGIN;
    return {
      origin: registry.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'nvidia',
          options: {
            base: origin,
            username,
            token: password,
            nohttps: undefined,
            soci: undefined,
            arch: undefined,
          },
          env,
        }),
      names: ['a.b/c__d/e--f:V1.0_x-Y'],
      pages: {
        size: 5,
        rewrite: ({ searchParams }) => {
          if (searchParams.has('n')) searchParams.set('n', '5');
        },
      },
      challenge: { 'www-authenticate': 'Basic realm="tests"' },
      close: () => registry.remove(),
    };
  },
  presetOf: oci,
  lacks: { share: 'the protocol has no links' },
});
