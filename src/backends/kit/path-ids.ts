/**
 * Paths for services that know their folders by id only (Google Drive, GitLab). A path is walked from the root, one look-up a
 * folder, and what was found is believed for a while; rclone's `lib/dircache` is the model.
 *
 * - One look-up at a time runs for a folder, however many callers want something below it.
 * - A folder that is absent is not remembered. Absence is believed only where every folder above it was looked up moments ago:
 *   an older id may be that of a folder that somebody replaced, so the path is walked anew first.
 * - An id that turns out to be gone makes the path be walked anew, once.
 * - A rename or a removal by this process begins a new epoch: what was looked up before it answers nobody who asks after it, and
 *   is not remembered, also where the look-up ends later.
 */
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../../base/errors.ts';
import { SingleFlight } from '../../base/single-flight.ts';

/** The folders of a service. Methods throw NOT_FOUND where `parent` is gone. */
export interface FolderTree {
  /** Id of the folder that paths begin in. */
  readonly root: string;
  /** Id of the folder `name` in `parent`; undefined where there is none. */
  find(parent: string, name: string, signal: AbortSignal): Promise<string | undefined>;
  /** Makes the folder, and returns its id. */
  create?(parent: string, name: string, signal: AbortSignal): Promise<string>;
}

export interface PathIdsOptions {
  /** Folders that are remembered at most; the least recently used one goes first. Default 10,000. */
  readonly max?: number | undefined;
  /** Milliseconds for which a folder is believed to be where it was. Default 60 s. */
  readonly ttl?: number | undefined;
}

/** A path is `''` for the root, else names joined by `/`. */
export interface PathIds {
  /** Id of the folder; undefined where the service says that there is none. */
  find(path: string, signal?: AbortSignal): Promise<string | undefined>;
  /** Id of the folder, which is made where it is absent, and those above it. UNSUPPORTED where the service makes none. */
  ensure(path: string, signal?: AbortSignal): Promise<string>;
  /**
   * What `act` does with the folder's id. Where `act` fails with NOT_FOUND, the path is walked anew, and `act` is called again if
   * that gives another id. NOT_FOUND where there is no such folder.
   */
  using<T>(path: string, act: (id: string) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** To be called after this process renamed or removed the folder at `path`: forgets it and all below it. */
  forget(path: string): void;
}

interface Known {
  readonly id: string;
  /** Milliseconds, by the monotonic clock. */
  readonly since: number;
}

/** What a walk found, and since when the oldest id on the way is known. */
interface Found {
  readonly id: string | undefined;
  readonly since: number;
}

const MAX = 10_000;
const TTL = 60_000;
/** Milliseconds for which an id is fresh enough for the absence of something below it to be believed. */
const FRESH = 2_000;

type Step = (parent: string, name: string, signal: AbortSignal) => Promise<string | undefined>;

export function createPathIds(tree: FolderTree, { max = MAX, ttl = TTL }: PathIdsOptions = {}): PathIds {
  const known = new LRUCache<string, Known>({ max, ttl });
  const flights = new SingleFlight<Known | undefined>();
  let epoch = 0;

  const forget = (path: string): void => {
    epoch += 1;
    for (const other of [...known.keys()])
      if (path === '' || other === path || other.startsWith(`${path}/`)) known.delete(other);
  };

  /** Walks the path; `step` gives the id of one more folder. Ends at the first that is absent. */
  const walk = async (path: string, kind: string, step: Step, signal?: AbortSignal): Promise<Found> => {
    const begun = epoch;
    const names = path.split('/').filter((name) => name !== '');
    let current: Found & { id: string } = { id: tree.root, since: performance.now() };
    for (const [depth, name] of names.entries()) {
      const here = names.slice(0, depth + 1).join('/');
      const parent = current.id;
      const look = async (flight: AbortSignal): Promise<Known | undefined> => {
        const since = performance.now();
        const id = await step(parent, name, flight);
        if (id === undefined) return undefined;
        const found = { id, since };
        if (epoch === begun) known.set(here, found);
        return found;
      };
      const key = `${begun} ${kind} ${parent} ${here}`;
      const remembered = epoch === begun ? known.get(here) : undefined;
      const found = remembered ?? (await flights.join(key, (flight) => look(flight.signal), signal));
      if (found === undefined) return { id: undefined, since: current.since };
      current = { id: found.id, since: Math.min(current.since, found.since) };
    }
    return current;
  };

  /** As {@link walk}; once more, from the root, where an old id may be the reason for an absence or a failure. */
  const walkSurely = async (path: string, kind: string, step: Step, signal?: AbortSignal): Promise<Found> => {
    try {
      const found = await walk(path, kind, step, signal);
      if (found.id !== undefined || performance.now() - found.since < FRESH) return found;
    } catch (error) {
      if (!isError(error, 'NOT_FOUND')) throw error;
    }
    forget(firstOf(path));
    return walk(path, kind, step, signal);
  };

  const find = async (path: string, signal?: AbortSignal): Promise<string | undefined> =>
    (await walkSurely(path, 'find', (parent, name, flight) => tree.find(parent, name, flight), signal)).id;

  const findOrCreate: Step = async (parent, name, signal) => {
    const id = await tree.find(parent, name, signal);
    if (id !== undefined) return id;
    if (tree.create === undefined)
      throw new SregistryError('UNSUPPORTED', `The service makes no folder ${name}`);
    return tree.create(parent, name, signal);
  };

  return {
    find,
    ensure: async (path, signal) => (await walkSurely(path, 'ensure', findOrCreate, signal)).id as string,
    using: async (path, act, signal) => {
      const id = await find(path, signal);
      if (id === undefined) throw absent(path);
      try {
        return await act(id);
      } catch (error) {
        if (!isError(error, 'NOT_FOUND')) throw error;
        forget(firstOf(path));
        const renewed = await find(path, signal);
        if (renewed === undefined) throw absent(path, error);
        if (renewed === id) throw error;
        return act(renewed);
      }
    },
    forget,
  };
}

/** The uppermost folder of a path: whatever changed, it did so there or below. */
function firstOf(path: string): string {
  return path.split('/')[0] ?? '';
}

function absent(path: string, cause?: unknown): SregistryError {
  return new SregistryError('NOT_FOUND', `There is no folder ${path}`, { cause });
}
