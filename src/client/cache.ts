/** The image cache for its user: lists, pins, removes and verifies images in it. */
import { SregistryError } from '../base/errors.ts';
import { freeSpace } from '../cache/location.ts';
import { detach } from '../cache/trash.ts';
import { type Verification as Comparison, type VerifyCounts, verifyCache } from '../cache/verify.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import type { State } from '../catalog/state.ts';
import { isLayered, useOf } from './layered-images.ts';
import { TARGET } from './open-layer.ts';
import { remembered } from './remembered.ts';
import type { Session } from './session.ts';
import { parseTarget } from './target.ts';

export interface CacheEntry {
  /**
   * URI it was last used under, as every command takes it; address and name if no configured backend uses that service any more;
   * `layer/...` for a layer.
   */
  readonly uri: string;
  /** For a layer: the URIs of the images that use it, as far as they are known, pinned ones first. */
  readonly images?: readonly string[] | undefined;
  readonly digest: string | undefined;
  /** Bytes of the whole image. */
  readonly size: number;
  /** Bytes of it on disk. */
  readonly bytes: number;
  readonly complete: boolean;
  readonly pinned: boolean;
  /** ISO 8601. */
  readonly lastUsed: string;
}

export interface CacheUsage {
  readonly path: string;
  /** Files of images; layers are apart. */
  readonly images: number;
  readonly layers: number;
  readonly bytes: number;
  readonly limit: number;
  readonly pinnedBytes: number;
  /** Bytes free on its file system. */
  readonly free: number;
}

export interface PruneOptions {
  /** Milliseconds: removes only images unused for that long. */
  readonly unusedFor?: number | undefined;
  /** Stop as soon as the cache holds no more bytes than this. Default 0. */
  readonly downTo?: number | undefined;
}

export interface Pruned {
  /** Files of images; layers are apart. */
  readonly images: number;
  readonly layers: number;
  readonly bytes: number;
}

/** What became of an entry. */
export interface Verification extends Comparison, Pick<CacheEntry, 'images'> {}

export type { VerifyCounts };

/** What is in the cache, most recently used first. */
export async function listCache(session: Session): Promise<CacheEntry[]> {
  const imagesOf = usersOf(session.state);
  const toUri = await uris(session);
  return session.cache
    .list()
    .map((row) => toEntry({ ...row, uri: toUri(row.uri) }, imagesOf(row.uri)))
    .reverse();
}

/** Translates what the cache calls an image, the address of its service and its name, into a URI of a configured backend. */
async function uris(session: Session): Promise<(entry: string) => string> {
  const backends = await Promise.allSettled(session.backendNames.map((name) => session.backend(name)));
  const byTarget = backends
    .flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    .map(({ name, uriScheme = name, target }) => ({ scheme: `${uriScheme}://`, before: `${target}/` }))
    .sort((a, b) => b.before.length - a.before.length);
  return (entry) => {
    const service = byTarget.find(({ before }) => entry.startsWith(before));
    return service === undefined ? entry : service.scheme + entry.slice(service.before.length);
  };
}

export async function cacheUsage({ cache }: Session): Promise<CacheUsage> {
  const entries = cache.list();
  const pinned = entries.filter((entry) => entry.pinned === 1);
  return {
    path: cache.root,
    ...countKinds(entries),
    bytes: cache.bytes,
    limit: cache.limit,
    pinnedBytes: pinned.reduce((sum, { bytes }) => sum + bytes, 0),
    free: await freeSpace(cache.root),
  };
}

/**
 * Pins or unpins the revision that a name stands for, as far as the cache has or will have it: its file, or its layers, each of which
 * stays pinned as long as another pinned image has it. An image in layers is unpinned in every revision. Returns its URI.
 */
export async function pin(
  session: Session,
  text: string,
  pinned: boolean,
  signal?: AbortSignal,
): Promise<string> {
  const { backend, name } = await parseTarget(text, session);
  const uri = session.uri(backend, name);
  if (backend.localPath !== undefined)
    throw new SregistryError('UNSUPPORTED', `${uri} is on a local disk, so it is never cached`);
  const { layerUses } = session.state;
  // Its registry need not have the image any more, nor answer.
  if (!pinned && layerUses.unpin(uri)) return uri;
  const image = await session.metadata.images.resolve(backend, name, signal);
  if (image === undefined)
    throw new SregistryError('NOT_FOUND', `${uri} does not exist in ${backend.target}`);
  if (isLayered(image)) {
    if (pinned) layerUses.pin(useOf(backend, image));
    return uri;
  }
  const cached = session.openCached(backend, image);
  try {
    session.state.cacheIndex.entries.pin(cached.key, pinned);
  } finally {
    await session.cache.close(cached);
  }
  return uri;
}

/** Removes images that are neither open nor pinned, the least recently used first. */
export function prune(session: Session, { unusedFor = 0, downTo = 0 }: PruneOptions = {}): Pruned {
  const { cache, state } = session;
  const before = Date.now() - unusedFor;
  const removed: CacheEntryRow[] = [];
  for (const entry of cache.list()) {
    if (cache.bytes <= downTo || entry.last_used > before) break;
    if (state.cacheIndex.evict(entry.key, () => void detach(cache.root, entry.key))) removed.push(entry);
  }
  return { ...countKinds(removed), bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/**
 * Repairs the cache folder and its index, then compares every whole image with its digest and removes wrong ones. Yields one
 * result an image, then returns what each step counted.
 */
export async function* verify(
  session: Session,
  signal?: AbortSignal,
): AsyncGenerator<Verification, VerifyCounts> {
  const { root } = session.cache;
  const { state } = session;
  const imagesOf = usersOf(state);
  const toUri = await uris(session);
  const verification = verifyCache({ root, index: state.cacheIndex }, signal);
  let next = await verification.next();
  while (!next.done) {
    const images = imagesOf(next.value.uri);
    yield { ...next.value, uri: toUri(next.value.uri), ...(images && { images }) };
    next = await verification.next();
  }
  return next.value;
}

const isLayerUri = (uri: string) => uri.startsWith(`${TARGET}/`);

/** The images that use the layer of an entry; undefined for the file of an image. */
function usersOf(state: State): (uri: string) => readonly string[] | undefined {
  const users = remembered(state, ({ layerUses }) => layerUses.byEntry());
  return (uri) => (isLayerUri(uri) ? (users?.get(uri) ?? []) : undefined);
}

function countKinds(entries: readonly CacheEntryRow[]): Pick<Pruned, 'images' | 'layers'> {
  const layers = entries.filter(({ uri }) => isLayerUri(uri)).length;
  return { images: entries.length - layers, layers };
}

function toEntry(row: CacheEntryRow, images: CacheEntry['images']): CacheEntry {
  const { uri, digest, size, bytes, complete, pinned, last_used } = row;
  return {
    uri,
    ...(images && { images }),
    digest: digest ?? undefined,
    size,
    bytes: Math.min(bytes, size),
    complete: complete === 1,
    pinned: pinned === 1,
    lastUsed: new Date(last_used).toISOString(),
  };
}
