/** Amazon ECR: an OCI registry with passwords that another API lends for hours, and repositories that a push must make. */
import { credentialSource } from '../kit/aws/credentials.ts';
import { ociPreset } from '../oci/preset.ts';
import { createApi } from './api.ts';
import { declaration } from './declaration.ts';
import { placeOf } from './place.ts';

export default ociPreset({
  ...declaration,
  connect: ({ name, options, env }) => {
    const place = placeOf(name, options);
    const api = createApi(
      { name, env },
      place,
      credentialSource({ driver: 'aws', instance: name }, options, true),
    );
    return {
      base: place.registry,
      arch: options.arch,
      nohttps: options.nohttps,
      soci: options.soci,
      // As in the Python client.
      defaultCollection: 'aws',
      login: api.login,
      loginHint: 'AWS needs credentials that may do this: see `aws sts get-caller-identity`',
      repositories: api.repositories,
      createRepository: options.create ? api.createRepository : undefined,
      close: api.close,
    };
  },
});
