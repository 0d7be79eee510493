/** Any OCI distribution registry: that of `base`, or those that names begin with. */
import { declaration } from './declaration.ts';
import { ociPreset } from './preset.ts';

export default ociPreset({
  ...declaration,
  connect: ({ options: { arch, base, nohttps, username, password } }) => ({
    arch,
    base,
    nohttps,
    login: async () => (username && password ? { username, password } : undefined),
  }),
});
