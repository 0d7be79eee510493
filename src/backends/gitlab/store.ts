/**
 * The generic packages of GitLab projects as a store ("Packages API", "Generic packages repository" in GitLab's documentation). A file
 * that is put again is kept beside the older one, and GitLab serves the newest; so the older ones are removed. The id of a file is its
 * revision.
 */
import { LRUCache } from 'lru-cache';
import pMap from 'p-map';
import { parseDate } from '../../base/date.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import { isJsonObject, isSize, type JsonObject } from '../../settings/json.ts';
import { type HttpClient, uriEncode } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import type { FileRef, ListedFile, Page, Store, StoredFile } from '../kit/store.ts';
import { verifiedStream } from '../kit/verified-stream.ts';
import { encode, type PackagePlace, placeOf, stemOf } from './names.ts';

const debug = debugLog('gitlab');

interface Package {
  readonly id: number;
  readonly name: string;
  readonly version: string;
}

interface PackageFile {
  readonly id: number;
  readonly name: string;
  readonly size: number;
  readonly digest: string | undefined;
  readonly created: Date | undefined;
}

/** The files of a package, the newest first. */
interface Found {
  readonly within: Package;
  readonly files: readonly PackageFile[];
}

/** Entries in a page: the most that GitLab gives. */
const PAGE_SIZE = 100;
/** Packages whose files are asked for at once. */
const CONCURRENCY = 8;
/** Milliseconds for which presigned addresses of an object storage are used. */
const REDIRECT_TTL = 60_000;

/** `base` ends in `/`. */
export function packageStore(http: HttpClient, base: URL, project: string | undefined): Store {
  const redirects = new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL });
  const apiOf = (path: string) => `projects/${uriEncode(path)}`;
  const show = (key: string) => `${base.href}${project === undefined ? '' : `${project}/`}${key}`;
  const placed = (key: string): PackagePlace => {
    const place = placeOf(key, project);
    if (place !== undefined) return place;
    throw new SregistryError('INVALID_NAME', `${show(key)}: GitLab cannot have an image of this name`, {
      hint: 'begin with the path of a project: group/project/image:tag',
    });
  };
  const address = ({ project: path, name, version, file }: PackagePlace) =>
    `${apiOf(path)}/packages/generic/${uriEncode(name)}/${uriEncode(version)}/${uriEncode(file)}`;

  async function* packages(path: string, query: Record<string, string>, signal?: AbortSignal) {
    const all = { package_type: 'generic', per_page: PAGE_SIZE, order_by: 'created_at', ...query };
    for await (const page of http.paginate(`${apiOf(path)}/packages`, { query: all, signal }))
      yield listIn(page.json(), page.url).flatMap(toPackage);
  }

  async function filesOf(path: string, { id }: Package, signal?: AbortSignal): Promise<PackageFile[]> {
    const files: PackageFile[] = [];
    const query = { per_page: PAGE_SIZE };
    const address = `${apiOf(path)}/packages/${id}/package_files`;
    for await (const page of http.paginate(address, { query, signal }))
      files.push(...listIn(page.json(), page.url).flatMap(toFile));
    return files.sort((a, b) => b.id - a.id);
  }

  async function find(place: PackagePlace, signal?: AbortSignal): Promise<Found | undefined> {
    const { project: path, name, version } = place;
    // GitLab searches for a part of the name; an old one does not know the version.
    for await (const page of packages(path, { package_name: name, package_version: version }, signal)) {
      const within = page.find((one) => one.name === name && one.version === version);
      const files = within && (await unlessAbsent(filesOf(path, within, signal)));
      if (within !== undefined && files !== undefined) return { within, files };
    }
    return undefined;
  }

  async function stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined> {
    const place = placeOf(key, project);
    const found = place && (await unlessAbsent(find(place, signal)));
    const file = found?.files.find(({ name }) => name === place?.file);
    return file && toStored(key, file);
  }

  /** Removes those files of a key whose ids are `unwanted`. Returns their package. */
  async function removeFiles(place: PackagePlace, unwanted: (id: number) => boolean, signal?: AbortSignal) {
    const { within, files = [] } = (await unlessAbsent(find(place, signal))) ?? {};
    const own = files.filter(({ name, id }) => name === place.file && unwanted(id));
    // The oldest first: what is left of an interruption is the newest.
    for (const { id } of own.reverse())
      await http.delete(`${apiOf(place.project)}/packages/${within?.id}/package_files/${id}`, {
        allow: [404],
        signal,
      });
    return within;
  }

  /** Stores a file, and removes the older ones of its key once it is known to be whole. */
  async function upload(
    key: string,
    body: Parameters<HttpClient['put']>[1],
    isWhole: (file: PackageFile) => boolean = () => true,
  ) {
    const place = placed(key);
    const query = { select: 'package_file' };
    const reply = await http.put(address(place), { ...body, query, timeout: Number.POSITIVE_INFINITY });
    const [file] = toFile(reply.json());
    if (file === undefined) throw new SregistryError('SERVICE', `${show(key)}: the answer is malformed`);
    const accepted = isWhole(file);
    const unwanted = (id: number) => (accepted ? id < file.id : id === file.id);
    await removeFiles(place, unwanted, body?.signal).catch((error: unknown) => {
      if (!isError(error) || error.code === 'CANCELED') throw error;
      debug('%s: unwanted files stay: %s', show(key), error.message);
    });
    if (accepted) return file;
    throw changedWhilePushed(`${show(key)}: GitLab has other bytes than were sent`);
  }

  return {
    target: `${base.href}${project ?? ''}`,
    show,
    stat,

    async *list(folder, signal): AsyncGenerator<Page> {
      const path = project ?? folder.replace(/\/$/, '');
      if (path === '')
        throw new SregistryError('UNSUPPORTED', 'Cannot list all projects of GitLab. Name one', {
          hint: 'list group/project, or set the option project',
        });
      // Without an own project, the packages of a project are directly in its folder.
      const [above, prefix] = project === undefined ? [folder, ''] : ['', folder];
      const query: Record<string, string> = prefix === '' ? {} : { package_name: encode(prefix) };
      for await (const page of packages(path, query, signal)) {
        const folders = new Set<string>();
        const here: { one: Package; stem: string }[] = [];
        for (const one of page) {
          const { path: name, stem } = stemOf(one.name, one.version) ?? { path: '', stem: '' };
          if (!name.startsWith(prefix) || name === '') continue;
          const [first = '', ...below] = name.slice(prefix.length).split('/');
          if (below.length > 0) folders.add(first);
          else here.push({ one, stem: above + stem });
        }
        const list = async ({ one, stem }: (typeof here)[number]): Promise<ListedFile[]> => {
          const files = (await unlessAbsent(filesOf(path, one, signal))) ?? [];
          const keyOf = ({ name }: PackageFile) => stem + name.slice(name.search(/\.[a-z]+(\.json)?$/));
          // The first of a name is the newest; another program's may not be where an image's would be.
          const newest = files.filter(({ name }, index) => files.findIndex((f) => f.name === name) === index);
          return newest
            .filter((file) => placeOf(keyOf(file), project)?.file === file.name)
            .map((file) => toStored(keyOf(file), file));
        };
        yield { folders: [...folders], files: (await pMap(here, list, { concurrency: CONCURRENCY })).flat() };
      }
    },

    open: async (ref, { size: total, offset, length, signal }) => {
      const place = placed(ref.key);
      const id = String(ref.file);
      // Did GitLab's own address answer? It means the newest file, whose ids only grow; one in the object storage means one file.
      let isAsked = false;
      let target: string | undefined;
      const ask = () => {
        isAsked = true;
        return undefined;
      };
      const memory = {
        get: () => redirects.get(id) ?? ask(),
        set: (_url: string, found: string) => {
          target = found;
        },
        delete: () => {
          redirects.delete(id);
          ask();
        },
      };
      const stream = await http.stream(address(place), { offset, length, total, signal, redirects: memory });
      const verify = async () => {
        if (!isAsked) return;
        if ((await stat(ref.key, signal))?.ref.file !== ref.file)
          throw new SregistryError('STALE', `${show(ref.key)} was replaced since it was looked up`);
        // A project that was renamed redirects to itself.
        if (target !== undefined && new URL(target).origin !== base.origin) redirects.set(id, target);
        isAsked = false;
      };
      return verifiedStream(stream, verify);
    },

    put: async (key, { open: body, size, digest }, { signal }) => {
      const headers = { 'content-length': String(size), 'content-type': 'application/octet-stream' };
      const isWhole = (file: PackageFile) =>
        file.size === size && (file.digest === undefined || file.digest === digest);
      return toStored(key, await upload(key, { body, headers, signal }, isWhole));
    },

    getSmall: async (key, signal) => (await http.get(address(placed(key)), { signal })).bytes,
    putSmall: async (key, body, signal) => {
      await upload(key, { body, headers: { 'content-type': 'application/json' }, signal });
    },

    remove: async (ref, signal) => {
      const place = placed(ref.key);
      const current = await stat(ref.key, signal);
      if (current === undefined) return;
      if (ref.file !== undefined && current.ref.file !== ref.file)
        throw new SregistryError('STALE', `${show(ref.key)} was replaced since it was looked up`);
      const within = await removeFiles(place, () => true, signal);
      // Another push may have put something there meanwhile.
      if (within !== undefined && (await unlessAbsent(filesOf(place.project, within, signal)))?.length === 0)
        await http.delete(`${apiOf(place.project)}/packages/${within.id}`, { allow: [404], signal });
    },

    isRef: ({ file }) => file === undefined || typeof file === 'number',
    check: async (signal) => {
      const path = project === undefined ? 'version' : `${apiOf(project)}/packages`;
      await http.get(path, { query: { per_page: 1 }, signal, allow: project === undefined ? [403] : [] });
    },
    close: () => http.close(),
  };
}

function toStored(key: string, { id, size, digest, created }: PackageFile): StoredFile {
  const ref: FileRef = { key, file: id };
  return { key, size, digest, modified: created, revision: String(id), ref };
}

function listIn(value: unknown, url: URL): JsonObject[] {
  if (Array.isArray(value)) return value.filter(isJsonObject);
  throw new SregistryError('SERVICE', `${url.origin}${url.pathname}: the answer is not a list`, {
    hint: 'check that base is the address of a GitLab server',
  });
}

function toPackage({ id, name, version, status = 'default' }: JsonObject): Package[] {
  const isUsable = typeof id === 'number' && typeof name === 'string' && typeof version === 'string';
  return isUsable && status === 'default' ? [{ id, name, version }] : [];
}

function toFile(value: unknown): PackageFile[] {
  const {
    id,
    file_name: name,
    size,
    file_sha256: sha256,
    created_at: created,
  } = isJsonObject(value) ? value : {};
  if (typeof id !== 'number' || typeof name !== 'string' || !isSize(size)) return [];
  const digest = /^[0-9a-f]{64}$/.test(String(sha256)) ? `sha256:${sha256}` : undefined;
  return [{ id, name, size, digest, created: parseDate(String(created)) }];
}
