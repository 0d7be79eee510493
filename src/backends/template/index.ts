/**
 * A driver to begin with. It is small, and it works as it is: with any web server that takes PUT and DELETE and lists its
 * folders as JSON, such as nginx with `dav_methods PUT DELETE`, `create_full_put_path on` and `autoindex_format json`.
 *
 * declaration.ts says what the driver is, this file how to reach the service, store.ts what it does there. Replace one after the
 * other by what the service wants, and run the driver's test after each. docs/contributing-a-backend.md goes through them.
 *
 * `createHttpClient` does what every service needs: it retries, waits when it is told to, gives up in time, keeps credentials to
 * `base`. A service whose tokens expire also gets `updateToken`: it is called once after a 401, and answers true when
 * there is a new one for `authorize` to send.
 */
import { defineDriver } from '../backend.ts';
import { createHttpClient } from '../http.ts';
import { authorization, folderAddress } from '../kit/http-files.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { declaration } from './declaration.ts';
import { createStore } from './store.ts';

/** Keys are `<collection...>/<image>:<tag>.sif`. A service that has its own names for images gets a layout of its own. */
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
