/** Searching the backends, all at the same time. */
import type { Backend, SearchQuery } from '../backends/backend.ts';
import { hasLabels } from '../backends/name-match.ts';
import { readAnnotations } from '../image/annotations.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { Session } from './session.ts';
import { unsupported } from './unsupported.ts';

export interface SearchRequest extends SearchQuery {
  /** Names of backends. Default: every configured one that can be searched. */
  readonly backends?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with each image as it is found, in no order among backends. */
  found(image: RemoteImage, backend: Backend): void;
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
}

/** Resolves when every backend has answered or failed; a backend that is named and cannot be searched is a failure. */
export async function search(session: Session, request: SearchRequest): Promise<SearchOutcome> {
  const names = request.backends ?? session.backendNames;
  const searched: string[] = [];
  const failures: SearchFailure[] = [];
  await Promise.all(
    names.map(async (name) => {
      try {
        const backend = await session.backend(name);
        const canSearch = await searchOne(backend, request);
        if (canSearch) searched.push(name);
        else if (request.backends !== undefined)
          throw await unsupported(backend, 'search', 'cannot be searched', session.env);
      } catch (error) {
        failures.push({ backend: name, error });
      }
    }),
  );
  return { searched, failures };
}

/** False where the backend has no search. */
async function searchOne(backend: Backend, request: SearchRequest): Promise<boolean> {
  if (backend.search === undefined) return false;
  const { query, labels, signal } = request;
  for await (const image of backend.search({ query, labels }, signal)) {
    signal?.throwIfAborted();
    if (hasLabels(image.annotations, labels)) request.found(image, backend);
  }
  return true;
}

/** What is told of an image that was found. */
export function summarize(session: Session, image: RemoteImage, { name: backend }: Backend): FoundImage {
  const { name, size, digest, modified, annotations } = image;
  return {
    uri: session.uri(backend, name),
    backend,
    size,
    digest,
    modified: modified?.toISOString(),
    labels: readAnnotations(annotations).labels ?? {},
  };
}
