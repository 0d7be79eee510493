/** NVIDIA NGC: an OCI registry whose user is literally `$oauthtoken`, with an API key as the password. */
import { ociPreset } from '../oci/preset.ts';
import { declaration } from './declaration.ts';

export default ociPreset({
  ...declaration,
  connect: ({ options: { token, username = '$oauthtoken', base, arch, nohttps, soci } }) => ({
    base,
    arch,
    nohttps,
    soci,
    // As in the Python client.
    defaultCollection: 'nvidia',
    login: async () => ({ username, password: token }),
  }),
});
