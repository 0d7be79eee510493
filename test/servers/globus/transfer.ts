/** Globus Transfer (docs.globus.org/api/transfer): operations on files, and tasks that run for a while and then have an outcome. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../../../src/base/errors.ts';
import { type Collection, type Collections, refuse } from './collections.ts';
import { Refusal } from './refusal.ts';

export interface TransferOptions {
  /** Milliseconds that a task runs. Default 5. */
  readonly taskTime?: number;
  /** Does a rename replace an existing file? Default false. */
  readonly renameReplaces?: boolean;
  /** Most entries of a listing in one answer. Default 100,000. */
  readonly pageSize?: number;
}

export interface FakeTask {
  readonly task_id: string;
  readonly type: 'TRANSFER' | 'DELETE';
  status: 'ACTIVE' | 'SUCCEEDED' | 'FAILED' | 'INACTIVE';
  nice_status: string;
  is_ok: boolean | null;
  bytes_transferred: number;
  fatal_error: object | null;
}

type Document = Readonly<Record<string, unknown>>;

export class FakeTransfer {
  readonly tasks: FakeTask[] = [];
  /** Tasks do not end while this is true. */
  isHeld = false;
  /** Called for each task before it does anything; what it throws fails the task. It may change the task. */
  onTask: ((task: FakeTask) => void) | undefined;
  readonly #collections: Collections;
  readonly #options: TransferOptions;
  /** Tasks by submission id; undefined for an id that was given out but not used. */
  readonly #submissions = new Map<string, FakeTask | undefined>();

  constructor(collections: Collections, options: TransferOptions) {
    this.#collections = collections;
    this.#options = options;
  }

  /** `scopes` are those of the token. */
  async answer(method: string, url: URL, body: Document, scopes: ReadonlySet<string>): Promise<object> {
    const [first, second = '', third, verb] = url.pathname.replace(/^\/v0\.10\//, '').split('/');
    const route = `${method} ${first}`;
    const { searchParams: query } = url;
    if (route === 'GET endpoint') return this.#collections.get(second).describe(url.origin);
    if (route === 'GET endpoint_search') return this.#search(query, url.origin);
    if (route === 'GET submission_id') return this.#submissionId();
    if (route === 'POST transfer' || route === 'POST delete')
      return this.#submit(first as string, body, scopes);
    if (first === 'task') return this.#task(method, second, third);
    if (first === 'operation' && second === 'endpoint' && third !== undefined) {
      const collection = this.#collections.get(third);
      consented(collection, scopes);
      return this.#operate(`${method} ${verb}`, collection, query, body);
    }
    throw new Refusal(404, 'ClientError.NotFound', `No such resource ${url.pathname}`);
  }

  #search(query: URLSearchParams, origin: string): object {
    const scope = query.get('filter_scope') ?? 'all';
    const text = query.get('filter_fulltext') ?? '';
    if (scope === 'all' && text === '') throw new Refusal(400, 'BadRequest', 'filter_fulltext is required');
    const [offset, limit] = [Number(query.get('offset') ?? 0), Number(query.get('limit') ?? 100)];
    const found = this.#collections.all.filter(({ options }) => {
      const inScope = scope === 'all' || (options.scope ?? 'my-endpoints') === scope;
      return inScope && (options.name ?? '').includes(text);
    });
    const page = found.slice(offset, offset + limit);
    const has_next_page = offset + limit < found.length;
    const DATA = page.map((each) => each.describe(origin));
    return { DATA_TYPE: 'endpoint_list', offset, limit, has_next_page, DATA };
  }

  #submissionId(): object {
    const value = randomUUID();
    this.#submissions.set(value, undefined);
    return { DATA_TYPE: 'submission_id', value };
  }

  async #operate(
    route: string,
    collection: Collection,
    query: URLSearchParams,
    body: Document,
  ): Promise<object> {
    const path = query.get('path') ?? '/~/';
    if (route === 'GET stat') return collection.stat(path);
    if (route === 'GET ls') return this.#list(collection, path, query);
    if (route === 'POST mkdir') {
      checkType(body, 'mkdir');
      const folder = collection.onDisk(textOf(body.path));
      await mkdir(folder).catch((error) => {
        if (systemCode(error) === 'EEXIST')
          throw new Refusal(502, 'ExternalError.MkdirFailed.Exists', 'Path already exists');
        refuse(error, textOf(body.path));
      });
      return {
        DATA_TYPE: 'mkdir_result',
        code: 'DirectoryCreated',
        message: 'The directory was created successfully',
      };
    }
    if (route === 'POST rename') {
      checkType(body, 'rename');
      const [from, to] = [collection.onDisk(textOf(body.old_path)), collection.onDisk(textOf(body.new_path))];
      if (!this.#options.renameReplaces && existsSync(to))
        throw new Refusal(502, 'ExternalError.RenameFailed.Exists', 'Path already exists');
      await rename(from, to).catch((error) => refuse(error, textOf(body.old_path)));
      return { DATA_TYPE: 'result', code: 'FileRenamed', message: 'File or directory renamed successfully' };
    }
    throw new Refusal(405, 'MethodNotAllowed', route);
  }

  async #list(collection: Collection, path: string, query: URLSearchParams): Promise<object> {
    const { pageSize = 100_000 } = this.#options;
    const limit = Math.min(Number(query.get('limit') ?? pageSize), pageSize);
    const offset = Number(query.get('offset') ?? 0);
    const all = await collection.list(path, query.get('show_hidden') !== '0');
    const DATA = all.slice(offset, offset + limit);
    const absolute_path = `${collection.absolute(path)}/`.replace('//', '/');
    return {
      DATA_TYPE: 'file_list',
      endpoint: collection.id,
      path,
      absolute_path,
      offset,
      limit,
      length: DATA.length,
      total: all.length,
      has_next_page: offset + limit < all.length,
      DATA,
    };
  }

  #submit(kind: string, body: Document, scopes: ReadonlySet<string>): object {
    checkType(body, kind);
    const id = textOf(body.submission_id);
    if (!this.#submissions.has(id)) throw new Refusal(400, 'BadRequest', 'unknown submission_id');
    const ends = kind === 'delete' ? [body.endpoint] : [body.source_endpoint, body.destination_endpoint];
    const collections = ends.map((end) => this.#collections.get(textOf(end)));
    for (const each of collections) consented(each, scopes);
    const known = this.#submissions.get(id);
    const task = known ?? this.#start(kind, body, collections);
    this.#submissions.set(id, task);
    const code = known === undefined ? 'Accepted' : 'Duplicate';
    return { DATA_TYPE: `${kind}_result`, code, message: code, task_id: task.task_id, submission_id: id };
  }

  #start(kind: string, body: Document, collections: readonly Collection[]): FakeTask {
    const task: FakeTask = {
      task_id: randomUUID(),
      type: kind === 'delete' ? 'DELETE' : 'TRANSFER',
      status: 'ACTIVE',
      nice_status: 'OK',
      is_ok: true,
      bytes_transferred: 0,
      fatal_error: null,
    };
    this.tasks.push(task);
    const turn = () => {
      if (task.status !== 'ACTIVE') return;
      if (this.isHeld) setTimeout(turn, 5);
      else this.#run(task, body, collections).catch((error: unknown) => fail(task, error));
    };
    setTimeout(turn, this.#options.taskTime ?? 5);
    return task;
  }

  async #run(task: FakeTask, body: Document, [from, to]: readonly Collection[]): Promise<void> {
    this.onTask?.(task);
    if (task.status !== 'ACTIVE' || task.is_ok === false) return;
    for (const item of body.DATA as Document[]) {
      if (task.type === 'DELETE') {
        checkType(item, 'delete_item');
        await rm(from?.onDisk(textOf(item.path)) as string, { force: body.ignore_missing === true });
        continue;
      }
      checkType(item, 'transfer_item');
      const source = from?.onDisk(textOf(item.source_path)) as string;
      const target = to?.onDisk(textOf(item.destination_path)) as string;
      await mkdir(dirname(target), { recursive: true });
      await copyFile(source, target);
      task.bytes_transferred += (await stat(target)).size;
    }
    // A task that was canceled meanwhile stays so.
    if (task.status === 'ACTIVE') task.status = 'SUCCEEDED';
  }

  #task(method: string, id: string, verb: string | undefined): object {
    const task = this.tasks.find(({ task_id }) => task_id === id);
    if (task === undefined) throw new Refusal(404, 'ClientError.NotFound', `No such task ${id}`);
    if (method === 'GET' && verb === undefined) return { DATA_TYPE: 'task', ...task };
    if (method === 'GET' && verb === 'event_list')
      return { DATA_TYPE: 'event_list', offset: 0, limit: 10, total: 0, DATA: [] };
    if (method !== 'POST' || verb !== 'cancel')
      throw new Refusal(405, 'MethodNotAllowed', `${method} ${verb}`);
    if (task.status !== 'ACTIVE' && task.status !== 'INACTIVE')
      return {
        DATA_TYPE: 'result',
        code: 'TaskComplete',
        message: 'The task completed before the cancel request',
      };
    fail(task, new Refusal(400, 'CANCELED', 'Canceled by user'));
    return { DATA_TYPE: 'result', code: 'Canceled', message: 'The task has been cancelled successfully.' };
  }
}

function fail(task: FakeTask, error: unknown): void {
  const code =
    error instanceof Refusal ? (error.body as { code: string }).code : (systemCode(error) ?? 'ERROR');
  task.status = 'FAILED';
  task.fatal_error = { code, description: String((error as Error).message) };
}

/** A mapped collection wants the consent of its own, unless it is of high assurance. */
function consented({ id, needsDataAccess, scopes }: Collection, granted: ReadonlySet<string>): void {
  if (!needsDataAccess || granted.has(scopes.dataAccess)) return;
  throw new Refusal(403, 'ConsentRequired', `Missing required data_access consent for ${id}`, {
    required_scopes: [`urn:globus:auth:scope:transfer.api.globus.org:all[*${scopes.dataAccess}]`],
  });
}

function checkType({ DATA_TYPE }: Document, type: string): void {
  if (DATA_TYPE !== type) throw new Refusal(400, 'BadRequest', `DATA_TYPE is not ${type}`);
}

function textOf(value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Refusal(400, 'BadRequest', 'a text is missing');
}
