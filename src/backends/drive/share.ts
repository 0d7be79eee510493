/** Sharing (resource "permissions"): with one person, who logs in to Google, or with everybody who has the link. */
import { SregistryError } from '../../base/errors.ts';
import type { ShareOptions } from '../backend.ts';
import type { Drive } from './drive.ts';

export async function shareFile(
  drive: Drive,
  id: string,
  { email, expires }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email === undefined && expires !== undefined)
    throw new SregistryError('UNSUPPORTED', 'A link to a file in Google Drive does not expire', {
      hint: 'share with one person until then: --email WHOM --expires 7d',
    });
  const expirationTime =
    expires === undefined ? undefined : new Date(Date.now() + expires * 1000).toISOString();
  const whom =
    email === undefined ? { type: 'anyone' } : { type: 'user', emailAddress: email, expirationTime };
  await drive.request('POST', `/${id}/permissions`, {
    json: { role: 'reader', ...whom },
    query: { fields: 'id' },
    // The same permission twice is one permission.
    idempotent: true,
    signal,
  });
  const { webContentLink, webViewLink } = await drive.ask('GET', `/${id}`, { signal });
  const link = email === undefined ? (webContentLink ?? webViewLink) : webViewLink;
  return link ?? `https://drive.google.com/file/d/${id}/view`;
}
