/**
 * A WebDAV server (RFC 4918) as a registry: `<base>/<collection...>/<image>:<tag>.sif`. store.ts says what each method asks of the
 * server, multistatus.ts how its listings are read.
 */
import { SregistryError } from '../../base/errors.ts';
import { type DriverContext, defineDriver } from '../backend.ts';
import { createHttp } from '../http.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { declaration } from './declaration.ts';
import { davStore } from './store.ts';

type Options = DriverContext<typeof declaration.options>['options'];

export default defineDriver({
  ...declaration,
  create({ name, options, env }) {
    if (options.base === undefined)
      throw new SregistryError('SETTINGS', `The backend ${name} has no base, the address of its images`, {
        hint: `sregistry backend add ${name} --driver webdav base=https://example.org/dav/`,
      });
    const { origin, pathname } = new URL(options.base);
    const base = new URL(pathname.replace(/\/?$/, '/'), origin);
    const http = createHttp({
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

function authorization({ username, password, token }: Options): Record<string, string> {
  if (token) return { authorization: `Bearer ${token}` };
  if (!username || !password) return {};
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
}
