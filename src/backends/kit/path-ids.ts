/**
 * Finds folder ids by path, for services that know folders by id only (Google Drive, GitLab). It walks a path from the root, with one
 * lookup per folder, and remembers the ids for a while. Modelled on rclone's `lib/dircache`.
 *
 * - At most one lookup per folder runs at a time, however many callers need it.
 * - Absence is never remembered. It is trusted only if every folder above was looked up moments ago. Otherwise one of their ids may
 *   belong to a folder that somebody replaced, so the path is walked again first.
 * - If an id turns out to be gone, the path is walked again, once.
 * - A rename or removal by this process begins a new epoch. Later callers never get the result of a lookup from an earlier epoch, and
 *   such a result is not remembered, even if the lookup ends later. But a folder is created by one call at a time, whatever the epoch.
 */
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../../base/errors.ts';
import { SingleFlight } from '../../base/single-flight.ts';

/** The folders of a service. Methods throw NOT_FOUND if `parent` is gone. */
export interface FolderTree {
  /** Id of the root folder of all paths. */
  readonly root: string;
  /** Id of the folder `name` in `parent`; undefined if it does not exist. */
  find(parent: string, name: string, signal: AbortSignal): Promise<string | undefined>;
  /** Creates the folder and returns its id. */
  create?(parent: string, name: string, signal: AbortSignal): Promise<string>;
}

export interface PathIdsOptions {
  /** Maximum number of remembered folders; the least recently used is forgotten first. Default 10,000. */
  readonly max?: number | undefined;
  /** Milliseconds for which a folder's id is remembered. Default 60 s. */
  readonly ttl?: number | undefined;
}

/** A path is `''` for the root, else names joined by `/`. */
export interface PathIds {
  /** Id of the folder; undefined if the service says that it does not exist. */
  find(path: string, signal?: AbortSignal): Promise<string | undefined>;
  /** Id of the folder; creates it and missing folders above it. Throws UNSUPPORTED if the service cannot create folders. */
  ensure(path: string, signal?: AbortSignal): Promise<string>;
  /**
   * Calls `act` with the folder's id and returns its result. If `act` throws NOT_FOUND, walks the path again, and calls `act` once more
   * if the id has changed. Throws NOT_FOUND if there is no such folder. `isFresh`: the whole path was looked up moments ago. If not, an
   * `act` that finds nothing in the folder throws NOT_FOUND, as a service may answer that a removed folder is empty.
   */
  using<T>(path: string, act: (id: string, isFresh: boolean) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Forgets the folder at `path` and everything below it. Call it after this process renamed or removed the folder. */
  forget(path: string): void;
}

interface Known {
  readonly id: string;
  /** Milliseconds, by the monotonic clock. */
  readonly since: number;
}

/** The result of a walk, and the age of the oldest id it used. */
interface Found {
  readonly id: string | undefined;
  readonly since: number;
}

const MAX = 10_000;
const TTL = 60_000;
/** Milliseconds for which an id is fresh enough to trust that a folder below it is absent. */
const FRESH = 2_000;

type Step = (parent: string, name: string, signal: AbortSignal) => Promise<string | undefined>;

export function createPathIds(tree: FolderTree, { max = MAX, ttl = TTL }: PathIdsOptions = {}): PathIds {
  const known = new LRUCache<string, Known>({ max, ttl });
  const flights = new SingleFlight<Known | undefined>();
  const creations = new Map<string, Promise<unknown>>();
  let epoch = 0;

  const forget = (path: string): void => {
    epoch += 1;
    for (const other of [...known.keys()])
      if (path === '' || other === path || other.startsWith(`${path}/`)) known.delete(other);
  };

  /** Walks the path. `step` returns the id of the next folder. The walk ends at the first absent folder. */
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

  /** Like {@link walk}, but walks again from the root if an outdated id may have caused the absence or failure. */
  const walkSurely = async (path: string, kind: string, step: Step, signal?: AbortSignal): Promise<Found> => {
    try {
      const found = await walk(path, kind, step, signal);
      if (found.id !== undefined || isFresh(found.since)) return found;
    } catch (error) {
      if (!isError(error, 'NOT_FOUND')) throw error;
    }
    forget(firstOf(path));
    return walk(path, kind, step, signal);
  };

  const findSurely = (path: string, signal?: AbortSignal): Promise<Found> =>
    walkSurely(path, 'find', (parent, name, flight) => tree.find(parent, name, flight), signal);

  const find = async (path: string, signal?: AbortSignal): Promise<string | undefined> =>
    (await findSurely(path, signal)).id;

  const findOrCreateAlone: Step = async (parent, name, signal) => {
    signal.throwIfAborted();
    const id = await tree.find(parent, name, signal);
    if (id !== undefined) return id;
    if (tree.create === undefined)
      throw new SregistryError(
        'UNSUPPORTED',
        `Cannot create the folder ${name}: the service does not create folders`,
      );
    return tree.create(parent, name, signal);
  };

  /** Waits for a creation of the same folder that began in an earlier epoch: many services would create the folder twice. */
  const findOrCreate: Step = async (parent, name, signal) => {
    const folder = JSON.stringify([parent, name]);
    const alone = () => findOrCreateAlone(parent, name, signal);
    const creation = (creations.get(folder) ?? Promise.resolve()).then(alone, alone);
    creations.set(folder, creation);
    try {
      return await creation;
    } finally {
      if (creations.get(folder) === creation) creations.delete(folder);
    }
  };

  return {
    find,
    ensure: async (path, signal) => (await walkSurely(path, 'ensure', findOrCreate, signal)).id as string,
    using: async (path, act, signal) => {
      const { id, since } = await findSurely(path, signal);
      if (id === undefined) throw absent(path);
      try {
        return await act(id, isFresh(since));
      } catch (error) {
        if (!isError(error, 'NOT_FOUND')) throw error;
        forget(firstOf(path));
        const renewed = await find(path, signal);
        if (renewed === undefined) throw absent(path, error);
        if (renewed === id) throw error;
        return act(renewed, true);
      }
    },
    forget,
  };
}

const isFresh = (since: number) => performance.now() - since < FRESH;

/** The uppermost folder of a path. Forgetting it covers every change on the path. */
function firstOf(path: string): string {
  return path.split('/')[0] ?? '';
}

function absent(path: string, cause?: unknown): SregistryError {
  return new SregistryError('NOT_FOUND', `There is no folder ${path}`, { cause });
}
