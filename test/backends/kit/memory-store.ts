/** A store in memory: versions of nothing, metadata if told so, and the condition of a put decided by itself. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { MetadataLimits } from '../../../src/backends/kit/metadata.ts';
import type { Page, Store, StoredFile, Strings } from '../../../src/backends/kit/store.ts';
import { SregistryError } from '../../../src/base/errors.ts';

export interface MemoryFile {
  readonly bytes: Buffer;
  readonly metadata: Strings;
  readonly revision: string;
  readonly modified: Date;
}

export interface MemoryStore extends Store {
  readonly files: Map<string, MemoryFile>;
  /** Methods that were called, with their keys. */
  readonly calls: string[];
  store(key: string, bytes: Buffer, metadata?: Strings): void;
}

export const LIMITS: MetadataLimits = {
  bytes: 500,
  shape: 'each',
  own: () => ({ client: 'memory' }),
  reserved: ['client'],
};

export interface MemoryOptions {
  /** Default: files carry none. */
  readonly metadata?: MetadataLimits;
  /** May it list by prefix? Default true. */
  readonly prefixes?: boolean;
}

export function memoryStore({ metadata, prefixes = true }: MemoryOptions = {}): MemoryStore {
  const files = new Map<string, MemoryFile>();
  const calls: string[] = [];
  let revisions = 0;

  const store = (key: string, bytes: Buffer, given: Strings = {}) => {
    revisions += 1;
    files.set(key, {
      bytes,
      metadata: given,
      revision: `r${revisions}`,
      modified: new Date(revisions * 1000),
    });
  };
  const toStored = (key: string, file: MemoryFile): StoredFile => ({
    key,
    size: file.bytes.length,
    modified: file.modified,
    revision: file.revision,
    ref: { key, revision: file.revision },
    ...(metadata && { metadata: file.metadata }),
  });
  const find = (key: string, revision?: unknown): MemoryFile => {
    const file = files.get(key);
    if (file === undefined) throw new SregistryError('NOT_FOUND', `${key} is not there`);
    if (revision !== undefined && file.revision !== revision)
      throw new SregistryError('STALE', `${key} changed`);
    return file;
  };
  const pages = async function* (prefix: string, isFolder: boolean): AsyncGenerator<Page> {
    const keys = [...files.keys()].filter((key) => key.startsWith(prefix)).sort();
    const rest = (key: string) => key.slice(prefix.length);
    const direct = isFolder ? keys.filter((key) => !rest(key).includes('/')) : keys;
    const folders = new Set(
      keys.filter((key) => rest(key).includes('/')).map((key) => rest(key).split('/')[0] ?? ''),
    );
    yield { files: [], folders: isFolder ? [...folders] : [] };
    for (const key of direct) yield { files: [toStored(key, find(key))] };
  };

  return {
    files,
    calls,
    store,
    target: 'memory',
    metadata,
    show: (key) => `memory:${key}`,
    stat: async (key) => {
      calls.push(`stat ${key}`);
      const file = files.get(key);
      return file && toStored(key, file);
    },
    list: (folder) => pages(folder, true),
    ...(prefixes && { listPrefix: (prefix: string) => pages(prefix, false) }),
    open: async ({ key, revision }, { offset, length }) =>
      Readable.from([find(key, revision).bytes.subarray(offset, offset + length)]),
    put: async (key, file, { metadata: given, ifAbsent, progress }) => {
      calls.push(`put ${key}`);
      const bytes = await readFile(file.path);
      if (ifAbsent && files.has(key)) throw new SregistryError('EXISTS', `${key} is there already`);
      store(key, bytes, given);
      progress?.(bytes.length, bytes.length);
      return toStored(key, find(key));
    },
    getSmall: async (key) => find(key).bytes,
    putSmall: async (key, bytes) => {
      calls.push(`putSmall ${key}`);
      store(key, bytes);
    },
    remove: async ({ key, revision }) => {
      calls.push(`remove ${key}`);
      if (files.has(key)) find(key, revision);
      files.delete(key);
    },
    copy: async ({ key, revision }, to, { metadata: given }) => {
      store(to, find(key, revision).bytes, given);
      return toStored(to, find(to));
    },
    isRef: ({ revision }) => typeof revision === 'string',
  };
}

export const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
