/**
 * Links for everybody, which expire ("Temporary URL middleware", docs.openstack.org/swift/latest/api/temporary_url_middleware.html;
 * docs.ceph.com/en/latest/radosgw/swift/tempurl). New services sign with SHA-256 only, Ceph long knew only SHA-1.
 */
import { createHmac } from 'node:crypto';
import { SregistryError } from '../../base/errors.ts';
import { registerSecret } from '../../log/index.ts';
import type { ShareOptions } from '../backend.ts';
import type { Account } from './account.ts';
import { partsOf } from './objects.ts';

/** Default lifetime of a link in seconds: a day. */
const DEFAULT_EXPIRES = 24 * 3600;

export async function shareObject(
  account: Account,
  key: string,
  { email, expires = DEFAULT_EXPIRES }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined)
    throw new SregistryError('UNSUPPORTED', 'Swift cannot share with an email address', {
      hint: 'omit --email and send the link yourself',
    });
  const url = await account.urlOf(key, signal);
  const until = Math.ceil(Date.now() / 1000 + expires);
  for (const secret of await keysOf(account, partsOf(key).container, signal)) {
    for (const algorithm of ['sha256', 'sha1']) {
      const path = decodeURIComponent(url.pathname).replace(/^\/swift(?=\/v1\/)/, '');
      const hash = createHmac(algorithm, secret).update(`GET\n${until}\n${path}`).digest('hex');
      const link = `${url.href}?temp_url_sig=${hash}&temp_url_expires=${until}`;
      const { status } = await account.public.head(link, { allow: [401, 403, 400], signal });
      if (status < 300) return link;
    }
  }
  throw new SregistryError(
    'UNSUPPORTED',
    `${account.show(key)}: no key signs links that the service accepts`,
    {
      hint: 'set a key: swift post -m "Temp-URL-Key: SECRET", or name it in SREGISTRY_SWIFT_TEMP_URL_KEY',
    },
  );
}

/** The keys that may sign links: only the owner of an account sees them. */
async function keysOf(account: Account, container: string, signal?: AbortSignal): Promise<string[]> {
  const of = async (key: string, kind: string) => {
    const { headers } = await account.request('HEAD', key, { signal });
    return [headers[`x-${kind}-meta-temp-url-key`], headers[`x-${kind}-meta-temp-url-key-2`]];
  };
  const { tempUrlKey } = account.options;
  const keys = tempUrlKey
    ? [tempUrlKey]
    : [...(await of(container, 'container')), ...(await of('', 'account'))];
  const known = [...new Set(keys)].filter((key) => key !== undefined && key !== '');
  for (const key of known) registerSecret(key as string);
  return known as string[];
}
