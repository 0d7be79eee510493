/** Step 6, share, and what else the service can do: each is one more property of the backend. */
import { SregistryError } from '../../base/errors.ts';
import { formatImageName } from '../../image/names.ts';
import type { RemoteImage, ShareOptions } from '../backend.ts';
import type { FileLocation } from '../http-file.ts';
import { metadataUrl, type Service } from './service.ts';

/** What is asked for and cannot be given is an error: a link that should expire must. */
export async function shareImage(
  { name, handle }: RemoteImage,
  { email, expires }: ShareOptions,
): Promise<string> {
  if (email === undefined && expires === undefined) return (handle as FileLocation).url;
  throw new SregistryError(
    'UNSUPPORTED',
    `${formatImageName(name)} has one address, for everyone and for good`,
    {
      hint: 'share it without a person and without an end',
    },
  );
}

/** Not an error where it is gone already. */
export async function removeImage(
  { http }: Service,
  { handle }: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const { url } = handle as FileLocation;
  await http.delete(url, { allow: [404], signal });
  await http.delete(metadataUrl(new URL(url)), { allow: [404], signal });
}
