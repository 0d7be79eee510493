/**
 * Searches the backends, all at the same time. What a service finds comes first. Images seen before are searched too, also by
 * words that the service's search does not cover.
 */
import type { Backend, SearchQuery } from '../backends/backend.ts';
import { hasLabels } from '../backends/name-match.ts';
import { readAnnotations } from '../image/annotations.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { identityOf } from './identity.ts';
import { isFoundByService, lookAround, matcherOf } from './seen.ts';
import type { Session } from './session.ts';
import { unsupported } from './unsupported.ts';

export interface SearchRequest extends SearchQuery {
  /** Names of backends. Default: every configured one that can be searched. */
  readonly backends?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Ask no service: find what was seen, and what is on this machine. */
  readonly offline?: boolean | undefined;
  /**
   * Called once with each image as it is found, in no order among backends. `seen` is set if the service was not asked or did
   * not find the image: the time when it last told of it.
   */
  found(image: RemoteImage, backend: Backend, seen?: Date): void;
}

export interface SearchOutcome {
  /** Names of the backends that were searched to their end. */
  readonly searched: readonly string[];
  readonly failures: readonly SearchFailure[];
}

export interface SearchFailure {
  readonly backend: string;
  readonly error: unknown;
}

/** An image as `sregistry search --json` prints it. */
export interface FoundImage {
  readonly uri: string;
  readonly backend: string;
  /** Bytes. */
  readonly size: number;
  readonly digest: string | undefined;
  /** ISO 8601. */
  readonly modified: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** ISO 8601: when the service last told of it. Undefined if the service told of it now, or if that time is not known. */
  readonly seen: string | undefined;
}

/** Resolves when every backend has answered or failed. A named backend that cannot be searched is a failure. */
export async function search(session: Session, request: SearchRequest): Promise<SearchOutcome> {
  const names = request.backends ?? session.backendNames;
  const searched: string[] = [];
  const failures: SearchFailure[] = [];
  await Promise.all(
    names.map(async (name) => {
      try {
        const backend = await session.backend(name);
        if (await searchOne(session, backend, request)) searched.push(name);
        else if (request.backends !== undefined && !request.offline)
          throw unsupported(backend, 'search', 'cannot be searched');
      } catch (error) {
        failures.push({ backend: name, error });
      }
    }),
  );
  return { searched, failures };
}

/** False if only images seen before were searched. */
async function searchOne(session: Session, backend: Backend, request: SearchRequest): Promise<boolean> {
  if (backend.localPath !== undefined) return searchHere(session, backend, request);
  const found = new Set<string>();
  let wasSearched = false;
  try {
    wasSearched = !request.offline && (await searchService(session, backend, request, found));
  } finally {
    recall(session, backend, request, { found, wasSearched });
  }
  return wasSearched;
}

/** Searches the images on this machine, all of them. */
async function searchHere(session: Session, backend: Backend, request: SearchRequest): Promise<boolean> {
  const images = await lookAround(session, backend, request.signal);
  for (const image of images.filter(matcherOf(session, backend, request))) request.found(image, backend);
  return backend.search !== undefined;
}

/** Asks the service, and adds the names that it finds to `found`. Returns false if the backend has no search. */
async function searchService(
  session: Session,
  backend: Backend,
  { query, labels, signal, found: tell }: SearchRequest,
  found: Set<string>,
): Promise<boolean> {
  if (backend.search === undefined) return false;
  for await (const image of backend.search({ query, labels }, signal)) {
    signal?.throwIfAborted();
    if (!hasLabels(image.annotations, labels)) continue;
    found.add(formatImageName(image.name));
    remember(session, backend, image);
    tell(image, backend);
  }
  return true;
}

/**
 * Remembers an image that a search found. A search may tell less than a lookup, and not even the size. Then the known answer
 * stays.
 */
function remember({ state, metadata }: Session, backend: Backend, image: RemoteImage): void {
  const known = state.remotes.get(identityOf(backend), formatImageName(image.name));
  const isNew = known?.image?.revision !== image.revision;
  if (isNew && image.annotations !== undefined && image.size > 0)
    metadata.images.put(backend, image.name, image);
}

/** Reports images seen before that the service did not find, except those that it should have found. */
function recall(
  session: Session,
  backend: Backend,
  request: SearchRequest,
  { found, wasSearched }: { readonly found: ReadonlySet<string>; readonly wasSearched: boolean },
): void {
  if (request.signal?.aborted) return;
  const matches = matcherOf(session, backend, request);
  const isGone = wasSearched ? isFoundByService(request) : () => false;
  for (const { image, fetchedAt } of session.state.remotes.list(identityOf(backend))) {
    if (image.unpresentable !== undefined || found.has(formatImageName(image.name))) continue;
    if (matches(image) && !isGone(image)) request.found(image, backend, new Date(fetchedAt));
  }
}

/** The JSON of an image that was found. */
export function summarize(session: Session, image: RemoteImage, backend: Backend, seen?: Date): FoundImage {
  const { name, digest, modified, annotations } = image;
  const known = session.state.texts.labelsOf(identityOf(backend), formatImageName(name));
  return {
    uri: session.uri(backend, name),
    backend: backend.name,
    size: session.layered.sized(image).size,
    digest,
    modified: modified?.toISOString(),
    labels: known ?? readAnnotations(annotations).labels ?? {},
    seen: seen?.toISOString(),
  };
}
