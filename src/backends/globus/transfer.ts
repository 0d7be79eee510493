/**
 * The API of Globus Transfer (version 0.10, docs.globus.org/api/transfer): what endpoints there are, operations on their files, and tasks,
 * which Globus carries out on its own. A task is submitted with an id, so that a repeated request does not make a second one.
 */
import { randomUUID } from 'node:crypto';
import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError, untilAborted } from '../../base/abort.ts';
import { parseDate } from '../../base/date.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject, isSize, type JsonObject } from '../../settings/json.ts';
import type { Progress } from '../backend.ts';
import { createHttpClient, type HttpClient, type HttpSettings, type RequestOptions } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import { Renewable } from '../kit/renewable.ts';
import { explainFor } from './failure.ts';
import { isId, type Place } from './places.ts';

/** An endpoint or collection ("Endpoint or Collection Document"). */
export interface Endpoint {
  readonly id: string;
  readonly name: string;
  /** Where its files can be read over HTTPS; undefined if they cannot. */
  readonly httpsServer: string | undefined;
  /** Does it require the consent `data_access`? Mapped collections do, unless they are of high assurance. */
  readonly needsDataAccess: boolean;
}

/** A file or folder ("File Document"). */
export interface Entry {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  /** As Globus wrote it. */
  readonly modified: string;
}

export interface TaskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly progress?: Progress | undefined;
  /** Called once with the id of the task. */
  readonly started?: (id: string) => void;
}

/** Milliseconds for which what an endpoint is stays true. */
const ENDPOINT_LIFETIME = 10 * 60_000;
/** Entries asked for at once. Globus has at most 100,000, but a page has to fit into memory. */
const PAGE_SIZE = 50_000;
/** Milliseconds between two questions for the state of a task: the first pause, and the longest. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5000;
/** Milliseconds for which a task may have nothing but faults. Globus itself goes on for a day. */
const FAULT_LIMIT = 60_000;
const CANCEL_LIMIT = 10_000;
/** Milliseconds for bringing back what a failed rename has put aside. */
const CLEANUP_LIMIT = 10_000;
/** Faults that do not pass. */
const FATAL = /PERMISSION_DENIED|NOT_FOUND|NO_SUCH|QUOTA|CONSENT|AUTH|NO_SPACE/;

export class Transfer {
  readonly base: URL;
  readonly http: HttpClient;
  readonly #endpoints = new Renewable<Endpoint>({ lifetime: ENDPOINT_LIFETIME });
  /** Tasks to cancel, before the connections end. */
  readonly #canceling = new Set<Promise<unknown>>();
  readonly #homes = new Renewable<string>({ lifetime: ENDPOINT_LIFETIME });

  constructor(name: string, base: URL, settings: HttpSettings) {
    this.base = base;
    this.http = createHttpClient({
      ...settings,
      base: new URL('/v0.10/', base),
      interpret: explainFor(name),
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#canceling);
    await this.http.close();
  }

  endpoint(id: string, signal?: AbortSignal): Promise<Endpoint> {
    const ask = async (limit: AbortSignal) => toEndpoint(await this.#get(`endpoint/${id}`, {}, limit));
    return this.#endpoints.get(id, ask, signal);
  }

  /** The endpoints of the user, or those in the scope `all` that match a text. */
  async *search(scope: string, text?: string, signal?: AbortSignal): AsyncGenerator<Endpoint> {
    const query = { filter_scope: scope, filter_fulltext: text, limit: 100 };
    yield* this.#paged('endpoint_search', query, (page) => page.has_next_page === true, toEndpoint, signal);
  }

  /** The entries of a folder. Throws NOT_FOUND if there is none. */
  list(at: Place, signal?: AbortSignal): AsyncGenerator<Entry> {
    const query = { path: folderPath(at), limit: PAGE_SIZE, show_hidden: 0 };
    const isFull = ({ length }: JsonObject, count: number) =>
      count > 0 && count === (length ?? PAGE_SIZE) && count >= PAGE_SIZE;
    return this.#paged(operation(at, 'ls'), query, isFull, toEntry, signal);
  }

  /** The file or folder there; undefined if there is none. */
  async stat(at: Place, signal?: AbortSignal): Promise<Entry | undefined> {
    const found = await unlessAbsent(this.#get(operation(at, 'stat'), { path: at.path }, signal));
    return found && toEntry(found);
  }

  /** The path from the root of the collection, for a path from its default folder. */
  async absolute({ endpoint, path }: Place, signal?: AbortSignal): Promise<string> {
    if (path.startsWith('/')) return path;
    const ask = async (limit: AbortSignal) => {
      const found = await this.#get(`operation/endpoint/${endpoint}/ls`, { path: '/~/', limit: 1 }, limit);
      const home = found.absolute_path ?? found.path;
      if (typeof home === 'string' && home.startsWith('/') && !home.includes('~'))
        return home.replace(/\/*$/, '/');
      throw new SregistryError('SERVICE', `Globus does not say where the default folder of ${endpoint} is`, {
        hint: 'give the path of the images from the root of the collection, with a slash in front',
      });
    };
    return (await this.#homes.get(endpoint, ask, signal)) + path;
  }

  /** Creates a folder, and missing ones above it. */
  async makeFolder(at: Place, signal?: AbortSignal): Promise<void> {
    const make = () => this.#operate(at.endpoint, 'mkdir', { path: at.path }, signal);
    const parent = at.path.replace(/\/*[^/]+\/*$/, '');
    try {
      await make();
    } catch (error) {
      if (isError(error, 'EXISTS')) return;
      if (!isError(error, 'NOT_FOUND') || parent === '' || parent === '.') throw error;
      await this.makeFolder({ ...at, path: parent }, signal);
      await make().catch(unlessExists);
    }
  }

  /**
   * Renames a file. If the collection refuses to replace an existing file, that gets a hidden name until the new one is there, and has
   * its own again if that fails. Throws EXISTS if it may not be replaced.
   */
  async rename({ endpoint, path }: Place, to: string, replace: boolean, signal?: AbortSignal): Promise<void> {
    const move = (from: string, target: string, limit = signal) =>
      this.#operate(endpoint, 'rename', { old_path: from, new_path: target }, limit);
    try {
      return await move(path, to);
    } catch (error) {
      if (!replace || !isError(error, 'EXISTS')) throw error;
      if ((await this.stat({ endpoint, path: to }, signal))?.type !== 'file') throw error;
    }
    const aside = hiddenBeside(to);
    await move(to, aside);
    try {
      await move(path, to);
    } catch (error) {
      const limit = AbortSignal.timeout(CLEANUP_LIMIT);
      await move(aside, to, limit).catch(async (failure: unknown) => {
        // The answer to the rename was lost, or another push was faster.
        if (isError(failure, 'EXISTS')) return this.remove({ endpoint, path: aside }, { signal: limit });
        throw new SregistryError('SERVICE', `${endpoint}:${to} could not be replaced, and is ${aside} now`, {
          hint: 'rename it back',
          cause: error,
        });
      });
      throw error;
    }
    await this.remove({ endpoint, path: aside }, { signal });
  }

  /** Copies a file, from one endpoint to another or within one. Globus compares the checksums of both. */
  async copy(from: Place, to: Place, size: number, options: TaskOptions): Promise<void> {
    const item = {
      DATA_TYPE: 'transfer_item',
      source_path: from.path,
      destination_path: to.path,
      recursive: false,
    };
    const ends = { source_endpoint: from.endpoint, destination_endpoint: to.endpoint };
    await this.#run('transfer', { ...ends, verify_checksum: true, DATA: [item] }, size, options);
  }

  async remove({ endpoint, path }: Place, options: TaskOptions): Promise<void> {
    const document = { endpoint, recursive: false, ignore_missing: true, interpret_globs: false };
    await this.#run('delete', { ...document, DATA: [{ DATA_TYPE: 'delete_item', path }] }, 0, options);
  }

  /** Submits a task and waits for its end. If the wait ends first, cancels the task. */
  async #run(
    kind: 'transfer' | 'delete',
    document: object,
    size: number,
    options: TaskOptions,
  ): Promise<void> {
    const { signal } = options;
    const { value: submission_id } = await this.#get('submission_id', {}, signal);
    const notify = { notify_on_succeeded: false, notify_on_failed: false, notify_on_inactive: false };
    const json = { DATA_TYPE: kind, submission_id, label: 'sregistry', ...notify, ...document };
    // Not aborted: only the answer names the task to cancel.
    const submitted = this.#submit(kind, json);
    try {
      const id = await (signal ? untilAborted(submitted, signal) : submitted);
      options.started?.(id);
      await this.#wait(id, size, options);
    } catch (error) {
      const cancel = (id: string) => this.http.post(`task/${id}/cancel`, { timeout: CANCEL_LIMIT });
      const canceled = submitted.then(cancel).catch(() => {});
      this.#canceling.add(canceled);
      void canceled.finally(() => this.#canceling.delete(canceled));
      throw signal?.aborted ? abortError(signal, `The Globus task (${kind})`) : error;
    }
  }

  async #submit(kind: string, json: object): Promise<string> {
    const reply = await this.http.post(kind, { json, idempotent: true });
    const { task_id: id } = objectOf(reply.json(), kind);
    if (typeof id === 'string' && isId(id)) return id;
    throw malformed(kind);
  }

  async #wait(id: string, size: number, { signal, progress }: TaskOptions): Promise<void> {
    let [done, since] = [0, performance.now()];
    for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, pause * 1.5)) {
      const task = await this.#get(`task/${id}`, {}, signal);
      const moved = typeof task.bytes_transferred === 'number' ? task.bytes_transferred : 0;
      if (task.status === 'SUCCEEDED') return;
      if (task.status === 'FAILED') throw taskFailed(id, task);
      if (task.status === 'INACTIVE') throw taskFailed(id, task, 'UNAUTHORIZED');
      if (moved > done || task.is_ok !== false) since = performance.now();
      done = Math.max(done, moved);
      progress?.(Math.min(done, size), size);
      const isFatal = task.is_ok === false && FATAL.test(String(task.nice_status));
      if (isFatal || performance.now() - since > FAULT_LIMIT) throw taskFailed(id, task);
      await sleep(pause, undefined, { signal });
    }
  }

  async #operate(
    endpoint: string,
    verb: 'mkdir' | 'rename',
    document: object,
    signal?: AbortSignal,
  ): Promise<void> {
    const json = { DATA_TYPE: verb, ...document };
    await this.http.post(`operation/endpoint/${endpoint}/${verb}`, { json, signal });
  }

  async #get(path: string, query: RequestOptions['query'], signal?: AbortSignal): Promise<JsonObject> {
    return objectOf((await this.http.get(path, { query, signal })).json(), path);
  }

  /** The items of a listing that is read by offset. */
  async *#paged<T>(
    path: string,
    query: NonNullable<RequestOptions['query']>,
    hasNext: (page: JsonObject, count: number) => boolean,
    read: (item: JsonObject) => T,
    signal?: AbortSignal,
  ): AsyncGenerator<T> {
    const pages = followPages<T[], number>(path, async (offset = 0) => {
      const page = await this.#get(path, { ...query, offset }, signal);
      if (!Array.isArray(page.DATA)) throw malformed(path);
      const next = hasNext(page, page.DATA.length) ? offset + page.DATA.length : undefined;
      return { page: page.DATA.map((item) => read(objectOf(item, path))), next };
    });
    for await (const page of pages) yield* page;
  }
}

/** A path in the same folder that no listing shows. */
export const hiddenBeside = (path: string) => posix.join(posix.dirname(path), `.sregistry-${randomUUID()}`);

const operation = ({ endpoint }: Place, verb: string) => `operation/endpoint/${endpoint}/${verb}`;
/** An empty path would be the default folder. */
const folderPath = ({ path }: Place) => (path.endsWith('/') ? path : `${path}/`);

function unlessExists(error: unknown): void {
  if (!isError(error, 'EXISTS')) throw error;
}

function toEndpoint(document: JsonObject): Endpoint {
  const {
    id,
    display_name: title,
    https_server: server,
    entity_type: type,
    high_assurance: isAssured,
  } = document;
  if (typeof id !== 'string' || !isId(id)) throw malformed('endpoint');
  return {
    id,
    name: typeof title === 'string' ? title : id,
    httpsServer: typeof server === 'string' && server !== '' ? server : undefined,
    needsDataAccess: type === 'GCSv5_mapped_collection' && isAssured !== true,
  };
}

function toEntry({ name, type, size, last_modified: modified }: JsonObject): Entry {
  if (typeof type !== 'string') throw malformed('listing');
  return {
    name: typeof name === 'string' ? name : '',
    type,
    size: isSize(size) ? size : 0,
    modified: typeof modified === 'string' ? modified : '',
  };
}

/** `2026-01-31 12:00:00+00:00` */
export const dateOf = ({ modified }: Entry): Date | undefined => parseDate(modified);

function objectOf(value: unknown, what: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw malformed(what);
}

const malformed = (what: string) => new SregistryError('SERVICE', `Globus sent a malformed answer (${what})`);

/** The error for a task that did not succeed, in its own words. */
function taskFailed(
  id: string,
  task: JsonObject,
  code: 'SERVICE' | 'UNAUTHORIZED' = 'SERVICE',
): SregistryError {
  const { fatal_error: fatal, nice_status: status, nice_status_short_description: short } = task;
  const { description } = isJsonObject(fatal) ? fatal : {};
  const why = [description, short, status].find((text) => typeof text === 'string' && text !== '');
  const known = /NOT_FOUND|NO_SUCH/.test(String(why)) ? 'NOT_FOUND' : code;
  const kind = /PERMISSION_DENIED/.test(String(why)) ? 'FORBIDDEN' : known;
  return new SregistryError(
    kind,
    `The Globus task ${id} did not succeed: ${String(why ?? task.status).slice(0, 300)}`,
    {
      hint: `https://app.globus.org/activity/${id} tells more`,
    },
  );
}
