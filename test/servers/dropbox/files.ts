/** The tree of a Dropbox: paths without regard to case, revisions that stay after a file is replaced or removed. */
import { createHash, randomBytes } from 'node:crypto';
import { badRequest, refused } from './refusal.ts';

export interface FakeRevision {
  readonly rev: string;
  readonly bytes: Buffer;
  readonly modified: Date;
}

export interface FakeEntry {
  readonly id: string;
  /** As it was created. */
  name: string;
  /** In lower case, with a slash before each part. */
  path: string;
  readonly kind: 'file' | 'folder';
  /** The last one is the current. Empty for a folder. */
  readonly revisions: FakeRevision[];
  clientModified?: string | undefined;
}

const BLOCK = 4 * 1024 * 1024;

/** dropbox.com/developers/reference/content-hash, written apart from the driver's. */
export function contentHash(bytes: Buffer): string {
  const sums: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK)
    sums.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + BLOCK))
        .digest(),
    );
  return createHash('sha256').update(Buffer.concat(sums)).digest('hex');
}

/** How a file takes its place (`CommitInfo`). */
export interface Commit {
  readonly path?: unknown;
  readonly mode?: unknown;
  readonly autorename?: unknown;
  readonly strict_conflict?: unknown;
  readonly client_modified?: unknown;
}

const fold = (path: string) => path.toLowerCase();
const parentOf = (path: string) => path.slice(0, path.lastIndexOf('/'));
const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const now = () => new Date(Math.floor(Date.now() / 1000) * 1000);

export class FakeTree {
  /** By path in lower case. */
  readonly entries = new Map<string, FakeEntry>();
  /** All revisions that were ever there. */
  readonly #kept = new Map<string, { readonly entry: FakeEntry; readonly revision: FakeRevision }>();
  #count = 0x15a4d7e10;

  /** A path to something new; the root is not one. */
  static check(path: unknown, field = 'path'): string {
    if (typeof path !== 'string' || !/^(\/[^/]+)+$/s.test(path))
      throw badRequest(`${field}: '${String(path)}' did not match pattern`);
    const isBad = path
      .split('/')
      .some((part) => /[\\\0]|[ .]$|^\.\.?$/.test(part) || Buffer.byteLength(part) > 255);
    if (isBad) throw refused('path/malformed_path');
    return path;
  }

  /** The entry of a path, `id:...` or `rev:...`. */
  find(
    path: unknown,
    field = 'path',
  ): { readonly entry: FakeEntry; readonly revision: FakeRevision | undefined } {
    if (path === '') throw badRequest('path: the root folder is unsupported');
    const text = String(path);
    if (text.startsWith('rev:')) {
      const kept = this.#kept.get(text.slice(4));
      if (!/^rev:[0-9a-f]{9,}$/.test(text)) throw badRequest(`path: '${text}' did not match pattern`);
      if (kept === undefined) throw refused(`${field}/not_found`);
      return kept;
    }
    const entry = text.startsWith('id:')
      ? [...this.entries.values()].find(({ id }) => id === text)
      : this.entries.get(fold(FakeTree.check(path)));
    if (entry === undefined) throw refused(`${field}/not_found`);
    return { entry, revision: entry.revisions.at(-1) };
  }

  makeFolder(path: string): FakeEntry {
    const there = this.entries.get(fold(path));
    if (there !== undefined) {
      if (there.kind !== 'folder') throw refused('path/conflict/file_ancestor');
      return there;
    }
    this.#makeParents(path);
    const entry: FakeEntry = {
      id: this.#newId(),
      name: nameOf(path),
      path: fold(path),
      kind: 'folder',
      revisions: [],
    };
    this.entries.set(entry.path, entry);
    return entry;
  }

  /** Stores a file as its commit says. */
  commit(
    { path: given, mode = 'add', autorename, strict_conflict: strict, client_modified: modified }: Commit,
    bytes: Buffer,
    field = 'path',
  ): FakeEntry {
    const path = FakeTree.check(given);
    const there = this.entries.get(fold(path));
    const tag = typeof mode === 'object' && mode !== null ? (mode as Record<string, unknown>)['.tag'] : mode;
    const update =
      typeof mode === 'object' && mode !== null ? (mode as Record<string, unknown>).update : undefined;
    if (!['add', 'overwrite', 'update'].includes(String(tag)))
      throw badRequest(`mode: unknown tag ${String(tag)}`);
    if (there?.kind === 'folder') throw refused(`${field}/conflict/folder`);
    const current = there?.revisions.at(-1);
    const isSame =
      current !== undefined && contentHash(current.bytes) === contentHash(bytes) && strict !== true;
    const mayReplace = tag === 'overwrite' || (tag === 'update' && current?.rev === update);
    if (there !== undefined && !mayReplace) {
      if (isSame && tag === 'add') return there;
      if (autorename !== true) throw refused(`${field}/conflict/file`);
      const dot = path.lastIndexOf('.');
      return this.commit({ path: `${path.slice(0, dot)} (1)${path.slice(dot)}`, mode: 'add' }, bytes, field);
    }
    this.#makeParents(path);
    const entry: FakeEntry = there ?? {
      id: this.#newId(),
      name: nameOf(path),
      path: fold(path),
      kind: 'file',
      revisions: [],
    };
    if (typeof modified === 'string') entry.clientModified = modified;
    this.#add(entry, bytes);
    this.entries.set(entry.path, entry);
    return entry;
  }

  /** Removes a file, or a folder with what is in it. */
  remove(path: unknown, rev: unknown): FakeEntry {
    const { entry, revision } = this.find(path, 'path_lookup');
    if (rev !== undefined && rev !== null && (entry.kind === 'folder' || revision?.rev !== rev))
      throw refused(`path_write/conflict/${entry.kind}`);
    for (const key of [...this.entries.keys()])
      if (key === entry.path || key.startsWith(`${entry.path}/`)) this.entries.delete(key);
    return entry;
  }

  copy(from: unknown, to: unknown, autorename: unknown, move = false): FakeEntry {
    const { entry, revision } = this.find(from, 'from_lookup');
    const path = FakeTree.check(to, 'to_path');
    const there = this.entries.get(fold(path));
    if (there !== undefined && autorename !== true && !(move && there === entry))
      throw refused(`to/conflict/${there.kind}`);
    if (entry.kind === 'folder' || revision === undefined) throw refused('cant_copy_shared_folder');
    if (move) this.entries.delete(entry.path);
    return this.commit({ path, mode: 'add', autorename }, revision.bytes, 'to');
  }

  restore(path: unknown, rev: unknown): FakeEntry {
    const kept = this.#kept.get(String(rev));
    if (kept === undefined) throw refused('invalid_revision');
    return this.commit({ path, mode: 'overwrite' }, kept.revision.bytes);
  }

  /** What is in a folder, in no order that means something. */
  list(path: string, recursive: boolean): FakeEntry[] {
    if (path !== '') {
      const { entry } = this.find(path);
      if (entry.kind !== 'folder') throw refused('path/not_folder');
    }
    const below = `${fold(path)}/`;
    return [...this.entries.values()]
      .filter(
        (one) => one.path.startsWith(below) && (recursive || !one.path.slice(below.length).includes('/')),
      )
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  describe(entry: FakeEntry, revision = entry.revisions.at(-1)): object {
    const { kind, name, id, path } = entry;
    // Only the last part is sure to have its case.
    const common = { '.tag': kind, name, id, path_lower: path, path_display: `${parentOf(path)}/${name}` };
    if (revision === undefined) return common;
    const time = revision.modified.toISOString().replace(/\.\d+Z$/, 'Z');
    return {
      ...common,
      client_modified: entry.clientModified ?? time,
      server_modified: time,
      rev: revision.rev,
      size: revision.bytes.length,
      is_downloadable: true,
      content_hash: contentHash(revision.bytes),
    };
  }

  #add(entry: FakeEntry, bytes: Buffer): void {
    this.#count += 1;
    const revision = { rev: `0${this.#count.toString(16)}00000001`, bytes, modified: now() };
    entry.revisions.push(revision);
    this.#kept.set(revision.rev, { entry, revision });
  }

  #makeParents(path: string): void {
    const parent = parentOf(path);
    if (parent !== '') this.makeFolder(parent);
  }

  #newId(): string {
    return `id:${randomBytes(16).toString('base64url')}`;
  }
}
