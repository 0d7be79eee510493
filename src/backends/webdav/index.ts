/**
 * A WebDAV server (RFC 4918) as a registry: `<base>/<collection...>/<image>:<tag>.sif`. store.ts sends the requests,
 * multistatus.ts parses the server's listings.
 */
import { defineDriver } from '../backend.ts';
import { createHttpClient } from '../http.ts';
import { authorization, folderAddress } from '../kit/http-files.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { declaration } from './declaration.ts';
import { davStore } from './store.ts';

export default defineDriver({
  ...declaration,
  create({ name, options, env }) {
    const base = folderAddress(options.base);
    const http = createHttpClient({
      base,
      env,
      headers: authorization(options),
      hints: { UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`` },
    });
    return storeBackend(davStore(http, base), createLayout(), {
      name,
      driver: declaration.name,
      defaultCollection: '',
      http: () => http,
    });
  },
});
