import { SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import { isLoopback } from '../http.ts';
import type { declaration } from './declaration.ts';

/** What a backend of Dropbox is made from. */
export type DropboxContext = DriverContext<typeof declaration.options>;

/** The hosts of the service. */
export interface Hosts {
  readonly www: string;
  readonly api: string;
  readonly content: string;
}

const DROPBOX: Hosts = {
  www: 'https://www.dropbox.com',
  api: 'https://api.dropboxapi.com',
  content: 'https://content.dropboxapi.com',
};

/** Tokens do not travel in the clear. */
export function hostsOf(instance: string, base: string | undefined): Hosts {
  if (base === undefined) return DROPBOX;
  const { protocol, host, origin } = new URL(base);
  if (protocol !== 'https:' && !isLoopback(host))
    throw new SregistryError('SETTINGS', `${instance}: refusing to send a login to ${origin} in the clear`, {
      hint: 'give base as an https address',
    });
  return { www: origin, api: origin, content: origin };
}
