import driver from '../../src/backends/aws/index.ts';
import oci from '../../src/backends/oci/index.ts';
import { startEcr } from '../servers/ecr.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 'aws',
  needs: { s3: true, registry: true },
  create: async () => {
    const ecr = await startEcr();
    return {
      origin: ecr.url,
      connect: ({ origin, env }) =>
        driver.create({
          name: 'aws',
          options: {
            account: ecr.account,
            region: 'us-east-1',
            ...ecr.login,
            sessionToken: undefined,
            profile: undefined,
            create: true,
            base: origin,
            endpoint: ecr.api,
            arch: undefined,
            nohttps: undefined,
            soci: undefined,
          },
          env,
        }),
      names: ['a.b/c_d/e-f:V1.0_x-Y'],
      pages: {
        size: 5,
        rewrite: ({ searchParams }) => {
          if (searchParams.has('n')) searchParams.set('n', '5');
        },
      },
      challenge: { 'www-authenticate': 'Basic realm="tests"' },
      close: () => ecr.close(),
    };
  },
  presetOf: oci,
  lacks: { share: 'the protocol has no links' },
});
