/**
 * Reads images of services that answer a name with a manifest, which links to a file in some storage: Singularity Hub, Singularity
 * Registry Server, the Sylabs library, job artifacts of GitLab. The link expires, so it does not identify an image. The image's
 * handle holds the manifest's path and version, and the link:
 *
 * - A link is dead after its stated end (in a presigned URL), or once the storage refuses it.
 * - To replace a dead link, one request fetches the manifest again, however many reads wait for it. All reads share the new link.
 * - If the manifest has another version, or the file is gone or replaced, a read throws STALE.
 *
 * Requests for links use the service's own base client, which sends credentials to trusted origins only. So a request to the storage
 * carries no credentials, and a 401 from the storage does not renew them.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import { type HttpClient, showUrl } from '../http.ts';
import { type FileLocation, findFile, type HttpFile, probeFile, readFile } from '../http-file.ts';
import { Renewable } from './renewable.ts';
import { goneIsStale, unreadableHandle } from './stale.ts';

/** The link of a manifest to an image's file. */
export interface Link {
  readonly url: URL;
  /** The service's id of this version of the image; `''` if it states none. */
  readonly version: string;
  /** Bytes, if the manifest states them; with a version, no request to the storage is then needed before the first read. */
  readonly size?: number | undefined;
}

export interface LinkService {
  readonly http: HttpClient;
  /** For messages. */
  readonly host: string;
  /** The current link of the manifest at `path`; undefined if the service says that there is no such manifest. */
  fetchLink(path: string, signal: AbortSignal): Promise<Link | undefined>;
}

/** An image's handle; plain JSON. */
export interface LinkHandle extends FileLocation {
  /** Path of the manifest. */
  readonly path: string;
  readonly version: string;
  /** When the link ends, in milliseconds since 1970, if it states that. */
  readonly ends?: number;
}

export interface LinkedFile extends Pick<HttpFile, 'size' | 'modified' | 'revision'> {
  readonly handle: LinkHandle;
}

export interface LinkRange {
  readonly offset: number;
  readonly length: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Links {
  /** Finds the file that the manifest at `path` links to. Throws SERVICE if the storage does not have it. */
  find(path: string, link: Link, signal?: AbortSignal): Promise<LinkedFile>;
  /** A stream of a range of this revision. Throws STALE if the revision changed. */
  read(image: RemoteImage, range: LinkRange): Promise<Readable>;
}

/** Milliseconds for which a redirect is remembered: presigned URLs live for minutes. */
const REDIRECT_TTL = 60_000;
/** Milliseconds for which a link without a stated end is used. */
const LINK_TTL = 10 * 60_000;
/** Milliseconds before its end from which a link is no longer used. */
const MARGIN = 15_000;
/** Milliseconds for which a new link is always used, even if it seems to have ended: clocks differ. */
const SHORTEST = 5_000;

export function createLinks({ http, host, fetchLink }: LinkService): Links {
  const redirects = new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL });
  const renewed = new Renewable<string>({
    lifetime: (url) => Math.max(SHORTEST, lifetimeOf(new URL(url)) ?? LINK_TTL),
  });

  const look = async (url: URL, signal?: AbortSignal): Promise<HttpFile> => {
    const file = await findFile(http, url, { signal }).catch((error: unknown) => {
      // A URL may be signed for GET only.
      if (!isRefusal(error) && !isError(error, 'UNSUPPORTED')) throw error;
      return probeFile(http, url, { signal });
    });
    if (file !== undefined) return file;
    throw new SregistryError('SERVICE', `${host} lists the image, but its file is gone: ${showUrl(url)}`);
  };

  return {
    find: async (path, link, signal) => {
      const { version, url, size } = link;
      // Without a version, only the file itself tells whether it was replaced.
      const file = size === undefined || version === '' ? await look(url, signal) : undefined;
      const lifetime = lifetimeOf(url);
      return {
        size: file?.size ?? (size as number),
        modified: file?.modified,
        revision: [version, file?.revision].filter(Boolean).join(' '),
        handle: {
          ...(file?.location ?? { url: url.href }),
          path,
          version,
          ...(lifetime !== undefined && { ends: Date.now() + lifetime }),
        },
      };
    },

    read: async (image, { offset, length, signal }) => {
      const { path, version, ends, ...location } = handleOf(image, host);
      const key = `${path} ${version}`;
      const renew = (refused?: string) =>
        renewed.replace(key, refused, (flight) => renewLink(path, version, flight), signal);
      const open = (url: string) =>
        readFile(http, { ...location, url }, { offset, length, size: image.size, redirects, signal });

      const hasEnded = ends !== undefined && ends < Date.now();
      const link = renewed.peek(key) ?? (hasEnded ? await renew() : location.url);
      try {
        return await open(link);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        const next = await renew(link);
        if (next === link) throw goneIsStale(error, path);
        return await open(next);
      }
    },
  };

  async function renewLink(path: string, version: string, signal: AbortSignal): Promise<string> {
    const link = await fetchLink(path, signal);
    if (link !== undefined && link.version === version) return link.url.href;
    throw new SregistryError('STALE', `${path} has changed: it no longer has the version ${version}`, {
      hint: 'open it again to read the new version',
    });
  }
}

/**
 * The URL of a manifest's link, resolved against the service's URL. A server behind a TLS proxy may write links with plain http; if
 * the service itself uses https, so does the result.
 *
 * @throws {SregistryError} SERVICE if the link is not an http URL. `what` names the image in the message.
 */
export function parseLink(given: unknown, base: URL, what: string): URL {
  const url = typeof given === 'string' ? URL.parse(given, base.href) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new SregistryError(
      'SERVICE',
      `${base.host}: the manifest of ${what} has no usable link to an image file`,
    );
  if (base.protocol === 'https:') url.protocol = 'https:';
  return url;
}

/**
 * Milliseconds for which a presigned URL is valid, less a margin; undefined if it does not say. Some URLs state seconds from the
 * signature, which is assumed to be new (`X-Amz-Expires`, `X-Goog-Expires`). Others state the end, in seconds since 1970 (`Expires`:
 * older signatures of S3 and Google, CloudFront) or as a date (`se`: Azure).
 */
function lifetimeOf(url: URL): number | undefined {
  const query = new Map([...url.searchParams].map(([name, value]) => [name.toLowerCase(), value]));
  const seconds = query.get('x-amz-expires') ?? query.get('x-goog-expires');
  const end = query.get('expires') ?? query.get('se');
  const milliseconds =
    seconds === undefined
      ? (/^\d+$/.test(end ?? '') ? Number(end) * 1000 : Date.parse(end ?? '')) - Date.now()
      : Number(seconds) * 1000;
  return Number.isFinite(milliseconds) ? milliseconds - MARGIN : undefined;
}

/** Is the link possibly dead? Storages answer an expired link with any of these. */
function isRefusal(error: unknown): error is SregistryError {
  return isError(error, 'NOT_FOUND', 'FORBIDDEN', 'UNAUTHORIZED') || (isError(error) && error.status === 400);
}

/** The handle of an image, checked because it may come from the catalog. Throws STALE if it cannot be read. */
function handleOf({ handle }: RemoteImage, host: string): LinkHandle {
  const { path, version, url } = handle;
  const isValid = [path, version, url].every((part) => typeof part === 'string') && URL.canParse(String(url));
  if (!isValid) throw unreadableHandle(host);
  return handle as LinkHandle;
}
