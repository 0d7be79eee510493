/** Fetches manifests of a repository, and compares them with their digests. */
import { createHash } from 'node:crypto';
import { SregistryError } from '../../base/errors.ts';
import { MANIFEST_TYPES, type Manifest, parseManifest } from './manifest.ts';
import { isDigest } from './reference.ts';
import { pathOf, type Repository, referenceOf } from './registries.ts';

export interface FetchedManifest extends Manifest {
  readonly bytes: Buffer;
  /** Computed from the bytes. */
  readonly digest: string;
}

/** Most bytes of a manifest: the specification asks registries to accept at least 4 MiB, and clients to expect no more. */
export const MANIFEST_MAX = 4 * 1024 * 1024;
const ACCEPT = { accept: MANIFEST_TYPES };

/** The manifest of a tag or digest; undefined if the registry says that it does not exist. */
export async function fetchManifest(
  repository: Repository,
  reference: string,
): Promise<FetchedManifest | undefined> {
  const { http, signal } = repository;
  const path = pathOf(repository, `manifests/${reference}`);
  const what = referenceOf(repository, reference);
  const reply = await http.get(path, { headers: ACCEPT, allow: [404], signal });
  if (reply.status === 404) {
    if (/html/i.test(reply.headers['content-type'] ?? ''))
      throw new SregistryError('SERVICE', `${what}: ${reply.url.origin} sent a web page, not a manifest`);
    return undefined;
  }
  if (reply.bytes.length > MANIFEST_MAX)
    throw new SregistryError('SERVICE', `${what}: ${reply.bytes.length} bytes are too many for a manifest`);
  const stated = isDigest(reference) ? reference : reply.headers['docker-content-digest'];
  const digest = digestOf(reply.bytes, stated);
  const manifest = parseManifest(reply.bytes, reply.headers['content-type'] ?? '', what);
  // The digest of a signed manifest of Docker's schema 1 covers only a part of its bytes; such a manifest is never an image for
  // us.
  const isSigned = manifest.mediaType.endsWith('prettyjws');
  if (stated !== undefined && stated !== digest && !isSigned) {
    const shown = stated.slice(0, 200);
    throw new SregistryError('CORRUPT', `${what}: the manifest does not match its digest ${shown}`);
  }
  return { ...manifest, bytes: reply.bytes, digest };
}

/** Digest of what a tag points to; undefined if the tag does not exist. */
export async function digestOfTag(repository: Repository, tag: string): Promise<string | undefined> {
  const { http, signal } = repository;
  const path = pathOf(repository, `manifests/${tag}`);
  const reply = await http.head(path, { headers: ACCEPT, allow: [404, 410], signal });
  if (reply.status >= 400) return undefined;
  return reply.headers['docker-content-digest'] ?? (await fetchManifest(repository, tag))?.digest;
}

/** The digest of `bytes`, with the algorithm of `like`. */
export function digestOf(bytes: Buffer, like = 'sha256:'): string {
  const algorithm = like.startsWith('sha512:') ? 'sha512' : 'sha256';
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}
