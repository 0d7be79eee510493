import type { Backend } from '../../../src/backends/backend.ts';
import driver from '../../../src/backends/dropbox/index.ts';
import type { FakeDropbox } from '../../servers/dropbox.ts';

export type DropboxOptions = Parameters<typeof driver.create>[0]['options'];

export const DEFAULTS: DropboxOptions = {
  token: undefined,
  clientId: undefined,
  refreshToken: undefined,
  root: undefined,
  pathRoot: undefined,
  base: undefined,
};

/** A backend of the fake with a token that does not expire, as the Python client has it. */
export function connectDropbox(
  { url }: Pick<FakeDropbox, 'url'>,
  options: Partial<DropboxOptions> = {},
  env: NodeJS.ProcessEnv = {},
): Backend {
  return driver.create({
    name: 'dropbox',
    options: { ...DEFAULTS, token: 'old', base: url, ...options },
    env,
  });
}
