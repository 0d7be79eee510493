/**
 * Which entry of the cache an image revision has. The key is made of the digest the service states and of the service itself, so
 * that one service cannot plant bytes under another's digest. Once an image is complete and its sha256 was compared, its entry
 * serves every service that states the same digest.
 */
import { createHash } from 'node:crypto';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { EntryDescription } from './entry-files.ts';

/** The key under which a revision is found or kept. `target` names the service. Throws DATABASE if the index cannot be asked. */
export function keyOf(index: CacheIndex, target: string, image: RemoteImage): string {
  const verified = image.digest && index.entries.findVerified(image.digest);
  if (verified && verified.size === image.size) return verified.key;
  return ownKeyOf(target, image);
}

/** The key of bytes for which only this service vouches. */
export function ownKeyOf(target: string, image: RemoteImage): string {
  const bytes = image.digest ?? formatImageName(image.name);
  const identity = [target, image.origin ?? '', bytes, image.revision, image.size];
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex');
}

/** What an entry says of its bytes. */
export function describe(target: string, image: RemoteImage): EntryDescription {
  return {
    uri: `${target}/${formatImageName(image.name)}`,
    size: image.size,
    digest: image.digest,
    revision: image.revision,
  };
}
