/** Sharing: a link for everybody. A file has one link at most; the one that it has is found. */
import { SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { ShareOptions } from '../backend.ts';
import type { DropboxApi } from './api.ts';
import { isFailure } from './failure.ts';
import type { Target } from './upload.ts';

export async function shareFile(
  api: DropboxApi,
  { what, path }: Target,
  { email, expires }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined)
    throw new SregistryError('UNSUPPORTED', `${what} cannot be shared with one person`, {
      hint: 'share it without --email: whoever has the link can read it',
    });
  const until = expires === undefined ? undefined : new Date(Date.now() + expires * 1000);
  // In whole seconds, as the API writes times.
  const settings = until && { expires: until.toISOString().replace(/\.\d+Z$/, 'Z') };
  try {
    const arg = { path, ...(settings && { settings }) };
    return direct(what, await api.ask('sharing/create_shared_link_with_settings', arg, { signal }));
  } catch (error) {
    if (!isFailure(error, /shared_link_already_exists/)) throw error;
    const found = await api.ask(
      'sharing/list_shared_links',
      { path, direct_only: true },
      { idempotent: true, signal },
    );
    const { links } = isJsonObject(found) ? found : {};
    const link: unknown = Array.isArray(links) ? links[0] : undefined;
    const ends =
      isJsonObject(link) && typeof link.expires === 'string'
        ? Date.parse(link.expires)
        : Number.POSITIVE_INFINITY;
    if (until === undefined || ends <= until.getTime()) return direct(what, link);
    throw new SregistryError('EXISTS', `${what} has a link already, which does not expire by then`, {
      hint: 'share it without --expires, or remove that link at dropbox.com first',
      cause: error,
    });
  }
}

/** The link that gives the bytes instead of a page about them. */
function direct(what: string, link: unknown): string {
  const { url: text } = isJsonObject(link) ? link : {};
  const url = typeof text === 'string' ? URL.parse(text) : null;
  if (url === null) throw new SregistryError('SERVICE', `${what}: Dropbox sent no link`);
  url.searchParams.set('dl', '1');
  return url.href;
}
