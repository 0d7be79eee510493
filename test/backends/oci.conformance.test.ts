import driver from '../../src/backends/oci/index.ts';
import { REGISTRY_LOGIN, startRegistry } from '../servers/docker-registry.ts';
import { conformance } from './conformance.ts';

const MEGABYTE = 1024 * 1024;

conformance({
  name: 'oci',
  needs: { registry: true },
  create: async () => {
    const registry = await startRegistry();
    return {
      origin: registry.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'docker',
          options: { base: origin, ...REGISTRY_LOGIN, nohttps: undefined, soci: undefined, arch: undefined },
          env,
        }),
      names: ['a.b/c__d/e--f:V1.0_x-Y'],
      pages: {
        size: 5,
        rewrite: ({ searchParams }) => {
          if (searchParams.has('n')) searchParams.set('n', '5');
        },
      },
      // More than one of the chunks it pushes.
      large: 65 * MEGABYTE,
      challenge: { 'www-authenticate': 'Basic realm="tests"' },
      close: () => registry.remove(),
    };
  },
  lacks: { share: 'the protocol has no links' },
});
