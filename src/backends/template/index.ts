/**
 * The driver to copy. It is small and works as it is, with any web server that accepts PUT and DELETE and lists its folders as JSON,
 * such as nginx with `dav_methods PUT DELETE`, `create_full_put_path on` and `autoindex_format json`.
 *
 * declaration.ts declares the driver, this file connects to the service, and store.ts sends its requests. Adapt them to your service one
 * by one, and run the driver's test after each. docs/contributing-a-backend.md guides you through the steps.
 *
 * `createHttpClient` does what every service needs: it retries, honours `Retry-After`, gives up in time, and sends credentials to `base`
 * only. If your service's tokens expire, also pass `authorize` and `updateToken`. The client calls `updateToken` once after a 401; it
 * returns true when `authorize` has a new token to send.
 */
import { defineDriver } from '../backend.ts';
import { createHttpClient } from '../http.ts';
import { authorization, folderAddress } from '../kit/http-files.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { declaration } from './declaration.ts';
import { createStore } from './store.ts';

/** Keys are `<collection...>/<image>:<tag>.sif`. Write another layout if your service names images differently. */
const LAYOUT = createLayout({ extensions: ['sif'] });

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
    return storeBackend(createStore(http, base), LAYOUT, {
      name,
      driver: declaration.name,
      defaultCollection: '',
      http: () => http,
    });
  },
});
