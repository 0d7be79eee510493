/**
 * Services that answer a name with a manifest, and in it a link to the bytes in some storage: Singularity Hub, Singularity Registry
 * Server, the Sylabs library, job artifacts of GitLab. The link expires, so it is no identity of an image. The handle holds the
 * path of the manifest and the version it had, and the link only for as long as that is good:
 *
 * - A link that says when it ends (a presigned address) is not used beyond that; one that storage refuses is dead as well.
 * - A dead link is renewed by asking for the manifest again, once however many reads wait for it. The new link is remembered.
 * - A manifest of another version, and a file that is gone or another one, are the error STALE: reads stay in one revision.
 *
 * Links go through the service's own base client, which gives credentials to the origins that it trusts and to no other. So a link
 * to storage carries none, and a 401 of storage renews none.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import { type HttpClient, showUrl } from '../http.ts';
import { type FileLocation, findFile, type HttpFile, probeFile, readFile } from '../http-file.ts';
import { Renewable } from './renewable.ts';
import { goneIsStale } from './stale.ts';

/** What a manifest says of an image's bytes. */
export interface Link {
  readonly url: URL;
  /** What the service calls this version of the image; `''` where it says nothing. */
  readonly version: string;
  /** Bytes, where the manifest says so: then storage is not asked before the first read. */
  readonly size?: number | undefined;
}

export interface LinkService {
  readonly http: HttpClient;
  /** For messages. */
  readonly host: string;
  /** The link that the manifest at `path` holds now; undefined where the service says that there is none. */
  fetchLink(path: string, signal: AbortSignal): Promise<Link | undefined>;
}

/** What an image's handle holds; plain JSON. */
export interface LinkHandle extends FileLocation {
  /** Where the service has the manifest. */
  readonly path: string;
  readonly version: string;
  /** Milliseconds since 1970 at which the link ends, where it says so. */
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
  /** The file that the link of the manifest at `path` leads to. SERVICE where storage does not have it. */
  find(path: string, link: Link, signal?: AbortSignal): Promise<LinkedFile>;
  /** A range of exactly that revision, else the error STALE. */
  read(image: RemoteImage, range: LinkRange): Promise<Readable>;
}

/** Milliseconds for which a redirect is used again: presigned addresses of storage live for minutes. */
const REDIRECT_TTL = 60_000;
/** Milliseconds for which a link is used that does not say when it ends. */
const LINK_TTL = 10 * 60_000;
/** Milliseconds before its end at which a link is no longer used. */
const MARGIN = 15_000;
/** Milliseconds for which a link is used in any case: it was given just now, and clocks differ. */
const SHORTEST = 5_000;

export function createLinks({ http, host, fetchLink }: LinkService): Links {
  const redirects = new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL });
  const renewed = new Renewable<string>({
    lifetime: (url) => Math.max(SHORTEST, lifetimeOf(new URL(url)) ?? LINK_TTL),
  });

  const look = async (url: URL, signal?: AbortSignal): Promise<HttpFile> => {
    const file = await findFile(http, url, { signal }).catch((error: unknown) => {
      // An address may be signed for one method.
      if (!isRefusal(error) && !isError(error, 'UNSUPPORTED')) throw error;
      return probeFile(http, url, { signal });
    });
    if (file !== undefined) return file;
    throw new SregistryError('SERVICE', `${host} has the image, but its file is gone: ${showUrl(url)}`);
  };

  return {
    find: async (path, link, signal) => {
      const { version, url, size } = link;
      const file = size === undefined ? await look(url, signal) : undefined;
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
    throw new SregistryError('STALE', `${path} is no longer the version ${version} that it was`, {
      hint: 'open it again for the new one',
    });
  }
}

/**
 * The address that a manifest gives, against that of the service. A server behind a proxy that ends TLS takes itself for plain
 * http; so a service that is asked by https gives links of https.
 *
 * @throws {SregistryError} SERVICE where it is no address of http. `what` is what the manifest is of.
 */
export function parseLink(given: unknown, base: URL, what: string): URL {
  const url = typeof given === 'string' ? URL.parse(given, base.href) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new SregistryError('SERVICE', `${base.host}: ${what} has no usable address of an image file`);
  if (base.protocol === 'https:') url.protocol = 'https:';
  return url;
}

/**
 * Milliseconds that an address says it may be used for, less a margin; undefined where it says nothing. Presigned addresses count
 * seconds from the signature, which is taken for now (`X-Amz-Expires`, `X-Goog-Expires`), or give the end in seconds since 1970
 * (`Expires`: older signatures of S3 and Google, CloudFront) or as a time (`se`: shared access signatures of Azure).
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

/** Could it be that the link is no longer good? Storage says so with any of these. */
function isRefusal(error: unknown): error is SregistryError {
  return isError(error, 'NOT_FOUND', 'FORBIDDEN', 'UNAUTHORIZED') || (isError(error) && error.status === 400);
}

/** The handle of an image, which may come out of the catalog. */
function handleOf({ handle }: RemoteImage, host: string): LinkHandle {
  const { path, version, url } = handle;
  const isValid = [path, version, url].every((part) => typeof part === 'string') && URL.canParse(String(url));
  if (!isValid) throw new SregistryError('INTERNAL', `the handle of an image of ${host} is damaged`);
  return handle as LinkHandle;
}
