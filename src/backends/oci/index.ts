/** Any OCI distribution registry: the one of `base`, or whichever registries the names begin with. */
import { declaration } from './declaration.ts';
import { ociPreset } from './preset.ts';

export default ociPreset({
  ...declaration,
  connect: ({ options: { base, nohttps, username, password } }) => ({
    base,
    nohttps,
    login: async () => (username && password ? { username, password } : undefined),
  }),
});
