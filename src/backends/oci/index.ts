/** Any OCI distribution registry: that of `base`, or those that names begin with. */
import { declaration } from './declaration.ts';
import { ociPreset } from './preset.ts';

export default ociPreset({
  ...declaration,
  connect: ({ options: { arch, base, nohttps, soci, username, password } }) => ({
    arch,
    base,
    nohttps,
    soci,
    login: async () => (username && password ? { username, password } : undefined),
  }),
});
