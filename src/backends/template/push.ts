/**
 * Step 3, push: from a file on this disk to the service, with the metadata that identifies it as a container. A push
 * succeeds when the service has the image and says so, and not before.
 */
import { SregistryError } from '../../base/errors.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { resolveImage } from './pull.ts';
import { fileUrl, metadataUrl, type Service } from './service.ts';

export async function pushImage(
  service: Service,
  file: ImageFile,
  name: ImageName,
  { annotations = {}, progress, ifAbsent = false, signal }: PushOptions,
): Promise<RemoteImage> {
  const url = fileUrl(service, name);
  if (url === undefined)
    throw new SregistryError(
      'INVALID_NAME',
      `${formatImageName(name)} cannot be a file of ${service.base.href}`,
    );

  const digest = file.digest ?? (await sha256File(file.path, { signal }));
  // Not every server knows the condition of the request below.
  if (ifAbsent && (await resolveImage(service, name, signal)) !== undefined) throw exists(url);
  const { status } = await service.http.put(url, {
    body: fileBody(file, progress),
    headers: {
      'content-length': String(file.size),
      'repr-digest': reprDigest(digest),
      ...(ifAbsent && { 'if-none-match': '*' }),
    },
    allow: ifAbsent ? [412] : [],
    // A large image may take hours: what ends it is a stall.
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
  if (status === 412) throw exists(url);
  await service.http.put(metadataUrl(url), { json: annotations, signal });

  const pushed = await resolveImage(service, name, signal);
  if (pushed?.size === file.size) return pushed;
  throw new SregistryError('CORRUPT', `${url.href} has ${pushed?.size} bytes after a push of ${file.size}`);
}

function exists(url: URL): SregistryError {
  return new SregistryError('EXISTS', `${url.href} exists already`, { hint: 'push it under another tag' });
}

/** RFC 9530 section 3: a server that knows it refuses bytes that were damaged on the way. */
function reprDigest(digest: string): string {
  return `sha-256=:${Buffer.from(digest.replace('sha256:', ''), 'hex').toString('base64')}:`;
}
