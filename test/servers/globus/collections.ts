/** Collections, each with a folder on disk. One of Globus Connect Personal shows the paths of its machine. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { systemCode } from '../../../src/base/errors.ts';
import { Refusal } from './refusal.ts';

export interface CollectionOptions {
  readonly kind: 'mapped' | 'guest' | 'personal';
  /** On disk. */
  readonly folder: string;
  readonly name?: string;
  /** Default: all but those of Globus Connect Personal. */
  readonly https?: boolean;
  readonly isHighAssurance?: boolean;
  /** May everybody read over HTTPS? */
  readonly isPublic?: boolean;
  /** Whose it is. Default `my-endpoints`. */
  readonly scope?: 'my-endpoints' | 'shared-with-me' | 'all';
}

const TYPES = {
  mapped: 'GCSv5_mapped_collection',
  guest: 'GCSv5_guest_collection',
  personal: 'GCP_mapped_collection',
};
/** The default folder of every collection of Globus Connect Server. */
const HOME = '/home/tester';

export class Collection {
  readonly id = randomUUID();
  readonly options: CollectionOptions;
  isConnected = true;
  /** Of its HTTPS server, in place of the true one. */
  address: string | undefined;

  constructor(options: CollectionOptions) {
    this.options = options;
  }

  get https(): boolean {
    return this.options.https ?? this.options.kind !== 'personal';
  }

  get needsDataAccess(): boolean {
    return this.options.kind === 'mapped' && !this.options.isHighAssurance;
  }

  get scopes() {
    const base = `https://auth.globus.org/scopes/${this.id}`;
    return { https: `${base}/https`, dataAccess: `${base}/data_access` };
  }

  get home(): string {
    return this.options.kind === 'personal' ? this.options.folder : HOME;
  }

  describe(origin: string): object {
    const { kind, name = `collection ${this.id}`, isHighAssurance = false } = this.options;
    return {
      DATA_TYPE: 'endpoint',
      id: this.id,
      display_name: name,
      entity_type: TYPES[kind],
      high_assurance: isHighAssurance,
      https_server: this.https ? (this.address ?? `${origin}/files/${this.id}`) : null,
      gcp_connected: kind === 'personal' ? this.isConnected : null,
      default_directory: '/~/',
    };
  }

  /** The path from the root of the collection. */
  absolute(path: string): string {
    const start = path.replace(/^\/?~(?=\/|$)/, this.home);
    const absolute = posix.join(start.startsWith('/') ? '/' : `${this.home}/`, start);
    return absolute.length > 1 ? absolute.replace(/\/$/, '') : absolute;
  }

  /** The file on disk. Refuses what is outside of the collection. */
  onDisk(path: string): string {
    if (!this.isConnected)
      throw new Refusal(
        409,
        'ExternalError.DirListingFailed.GCDisconnected',
        'The endpoint is not connected',
      );
    const absolute = this.absolute(path);
    const { kind, folder } = this.options;
    if (kind !== 'personal') return join(folder, absolute);
    if (absolute === folder || absolute.startsWith(`${folder}/`)) return absolute;
    throw new Refusal(403, 'EndpointPermissionDenied', `Path not allowed: ${absolute}`);
  }

  async stat(path: string): Promise<object> {
    return await describeEntry(this.onDisk(path), posix.basename(this.absolute(path)), path);
  }

  async list(path: string, showsHidden: boolean): Promise<object[]> {
    const folder = this.onDisk(path);
    const found = await stat(folder).catch((error) => refuse(error, path));
    if (!found.isDirectory()) throw new Refusal(502, 'ExternalError.DirListingFailed.NotDirectory', path);
    const names = (await readdir(folder)).filter((name) => showsHidden || !name.startsWith('.')).sort();
    const entries = await Promise.all(
      names.map((name) => describeEntry(join(folder, name), name, path).catch(() => undefined)),
    );
    return entries.filter((entry) => entry !== undefined);
  }
}

export class Collections {
  readonly all: Collection[] = [];

  async add(options: CollectionOptions): Promise<Collection> {
    const collection = new Collection(options);
    await mkdir(collection.onDisk('/~/'), { recursive: true });
    this.all.push(collection);
    return collection;
  }

  get(id: string): Collection {
    const found = this.all.find((each) => each.id === id);
    if (found === undefined) throw new Refusal(404, 'EndpointNotFound', `No such endpoint ${id}`);
    return found;
  }
}

/** "File Document" */
async function describeEntry(file: string, name: string, path: string): Promise<object> {
  const found = await stat(file).catch((error) => refuse(error, path));
  const type = found.isDirectory() ? 'dir' : 'file';
  const last_modified = found.mtime.toISOString().replace('T', ' ').replace(/\..*/, '+00:00');
  return {
    DATA_TYPE: 'file',
    name,
    type,
    size: found.size,
    last_modified,
    permissions: '0644',
    user: 'tester',
    group: 'tester',
    link_target: null,
  };
}

export function refuse(error: unknown, path: string): never {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR')
    throw new Refusal(404, 'ClientError.NotFound', `No such file or directory: ${path}`);
  throw error;
}
