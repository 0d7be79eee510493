import driver from '../../src/backends/s3/index.ts';
import { OTHER_S3, s3Options, startS3 } from '../servers/s3.ts';
import { conformance } from './conformance.ts';

conformance({
  name: 's3',
  needs: { s3: true },
  create: async () => {
    const s3 = await startS3();
    const bucket = await s3.createBucket();
    return {
      origin: s3.url,
      connect: ({ origin, env }) =>
        driver.create({ name: 's3', options: s3Options({ base: origin, bucket, ...s3.login }), env }),
      names: ["a b/c+d/~e'(f)!*$&=,;:V 1.0_x-Y", 'ünï/漢字/🤖:β', '100%41/a#b?c=d:e%2Ff'],
      pages: {
        size: 5,
        rewrite: ({ searchParams }) => {
          if (!OTHER_S3 && searchParams.get('max-keys') === '1000') searchParams.set('max-keys', '5');
        },
      },
      close: () => s3.stop(),
    };
  },
  lacks: {
    renewal: 'S3 refuses with 403, and has other codes for tokens that have ended',
    ...(OTHER_S3 && {
      pages: 'they are long, and a service that checks signatures would not take shorter ones',
    }),
  },
});
