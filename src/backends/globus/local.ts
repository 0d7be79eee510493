/**
 * Files of collections without HTTPS: Globus transfers them whole to and from an endpoint on this machine, such as Globus Connect Personal,
 * and they are read and written in a folder there. A file that was fetched stays there until the backend is closed, as it is read in
 * pieces.
 */
import { createHash, randomUUID } from 'node:crypto';
import { constants, type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { isError, SregistryError, systemCode } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { bot } from '../../log/index.ts';
import type { Progress } from '../backend.ts';
import { Renewable } from '../kit/renewable.ts';
import type { Range } from '../kit/store.ts';
import type { GlobusContext } from './context.ts';
import { isId, type Place } from './places.ts';
import type { Entry, Transfer } from './transfer.ts';

interface Folder {
  /** On disk. */
  readonly folder: string;
  /** The same folder at the endpoint. */
  readonly at: Place;
}

export class LocalFiles {
  readonly #context: GlobusContext;
  readonly #transfer: Transfer;
  readonly #fetched = new Renewable<string>({ lifetime: Number.POSITIVE_INFINITY });
  readonly #paths = new Set<string>();
  #found: Promise<Folder> | undefined;

  constructor(context: GlobusContext, transfer: Transfer) {
    this.#context = context;
    this.#transfer = transfer;
  }

  /** A stream of a range of a file, which is fetched first. */
  async open(from: Place, entry: Entry, { offset, length, signal }: Range): Promise<Readable> {
    const file = await this.#open(from, entry, signal);
    return file.createReadStream({ start: offset, end: offset + length - 1, signal });
  }

  async read(from: Place, entry: Entry, signal?: AbortSignal): Promise<Buffer> {
    await using file = await this.#open(from, entry, signal);
    return await file.readFile();
  }

  /** Sends what `body` yields to a file of a collection. */
  async send(
    body: AsyncIterable<Uint8Array>,
    to: Place,
    size: number,
    options: { readonly progress?: Progress | undefined; readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    const { folder, at } = await this.#folder();
    const name = `out-${randomUUID()}`;
    const path = join(folder, name);
    try {
      await using file = await open(path, 'wx', 0o600);
      for await (const chunk of body) await file.writeFile(chunk);
      await this.#run({ ...at, path: `${at.path}/${name}` }, to, size, options.signal, options.progress);
    } catch (error) {
      throw isError(error) ? error : fileError('write', path, error);
    } finally {
      await rm(path, { force: true });
    }
  }

  /** Removes what was fetched. */
  async close(): Promise<void> {
    for (const path of this.#paths) await rm(path, { force: true });
  }

  async #open(from: Place, entry: Entry, signal?: AbortSignal): Promise<FileHandle> {
    const identity = JSON.stringify([from.endpoint, from.path, entry.size, entry.modified]);
    const name = createHash('sha256').update(identity).digest('hex');
    const path = await this.#fetched.get(name, (limit) => this.#fetch(from, entry, name, limit), signal);
    try {
      return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      this.#fetched.forget(name);
      throw fileError('read', path, error);
    }
  }

  async #fetch(from: Place, { size, modified }: Entry, name: string, signal: AbortSignal): Promise<string> {
    const { folder, at } = await this.#folder();
    const [path, part] = [join(folder, `in-${name}`), `part-${randomUUID()}`];
    this.#paths.add(path);
    try {
      await this.#run(from, { ...at, path: `${at.path}/${part}` }, size, signal);
      const arrived = await stat(join(folder, part));
      const present = await this.#transfer.stat(from, signal);
      if (arrived.size !== size || present?.size !== size || present.modified !== modified)
        throw new SregistryError(
          'STALE',
          `${from.endpoint}:${from.path} was replaced while Globus transferred it`,
        );
      await rename(join(folder, part), path);
      return path;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw new SregistryError(
        'SETTINGS',
        `Globus transferred a file to ${at.endpoint}, but it is not in ${folder}`,
        {
          hint: 'localFolder and localPath must be the same folder: on this machine, and at the local endpoint',
          cause: error,
        },
      );
    } finally {
      await rm(join(folder, part), { force: true });
    }
  }

  /** Has Globus copy a file, and shows how far it is. */
  async #run(from: Place, to: Place, size: number, signal?: AbortSignal, progress?: Progress): Promise<void> {
    using bar = progress ? undefined : bot.progress({ label: `Globus: ${from.path}`, total: size });
    await this.#transfer.copy(from, to, size, {
      signal,
      progress: progress ?? ((done) => bar?.update(done)),
      started: (id) =>
        bot.info(`Globus task ${id} copies ${from.endpoint}:${from.path} to ${to.endpoint}:${to.path}`),
    });
  }

  #folder(): Promise<Folder> {
    this.#found ??= this.#find().catch((error: unknown) => {
      this.#found = undefined;
      throw error;
    });
    return this.#found;
  }

  async #find(): Promise<Folder> {
    const { name, options, env } = this.#context;
    const config = join(env.HOME || homedir(), '.globusonline', 'lta');
    const endpoint = options.localEndpoint ?? (await textIn(join(config, 'client-id.txt'))).trim();
    const folder = options.localFolder ?? (await personalFolder(config, env));
    if (!isId(endpoint) || folder === undefined)
      throw new SregistryError(
        'SETTINGS',
        `${name}: this collection has no HTTPS, and there is no Globus endpoint here`,
        {
          hint: 'install Globus Connect Personal, or set localEndpoint and localFolder',
        },
      );
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return { folder, at: { endpoint, path: options.localPath ?? folder } };
  }
}

/** A folder in the first folder that Globus Connect Personal may access; lines are `<folder>,<shared>,<writable>`. */
async function personalFolder(config: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const lines = (await textIn(join(config, 'config-paths'))).split('\n');
  const folders = lines.flatMap((line) => {
    const [path = '', , writable] = line.trim().split(',');
    return path === '' || writable === '0'
      ? []
      : [resolve(path.replace(/^~(?=\/|$)/, env.HOME || homedir()))];
  });
  for (const folder of folders) {
    const isFolder = await stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isFolder) return join(folder, '.sregistry-globus');
  }
  return undefined;
}

async function textIn(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw fileError('read', file, error);
  }
}
