/**
 * The collections of Globus as a store. Transfer lists, renames and removes. A collection of Globus Connect Server 5 serves the bytes over
 * HTTPS; for any other one, Transfer copies whole files to this machine and back (local.ts). A push writes a hidden file and renames it
 * when it is whole. Metadata are in sidecars.
 */
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import { createHttpClient, isLoopback } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { folderAddress, type HttpFileRef, type HttpFiles, httpFiles } from '../kit/http-files.ts';
import { SIDECAR_MAX } from '../kit/metadata.ts';
import { Renewable } from '../kit/renewable.ts';
import type { ListedFile, Page, PutOptions, SourceFile, Store, StoredFile } from '../kit/store.ts';
import { verifiedStream } from '../kit/verified-stream.ts';
import type { GlobusContext } from './context.ts';
import { explainFor } from './failure.ts';
import { LocalFiles } from './local.ts';
import { credentialsFor } from './login.ts';
import { isId, type Place, placeOf } from './places.ts';
import { dateOf, type Entry, hiddenBeside, type Transfer } from './transfer.ts';

/** Milliseconds for removing the hidden file of a failed push. */
const CLEANUP_LIMIT = 10_000;

/** What `open` and `remove` need of a revision: the validators of HTTPS, or the time that Transfer tells. */
interface GlobusRef extends HttpFileRef {
  readonly changed?: string;
}

/** A place with its path from the root of the collection. */
interface Spot extends Place {
  /** The collection's files over HTTPS, by path without the first slash; undefined if it has no HTTPS. */
  readonly files: HttpFiles | undefined;
}

export function globusStore(transfer: Transfer, context: GlobusContext): Store {
  const { options } = context;
  const local = new LocalFiles(context, transfer);
  const collections = new Renewable<{ readonly files: HttpFiles | undefined }>({
    lifetime: Number.POSITIVE_INFINITY,
  });
  const opened: HttpFiles[] = [];

  const filesOf = async (id: string, signal?: AbortSignal) => {
    const connect = async (limit: AbortSignal) => {
      const { httpsServer } = await transfer.endpoint(id, limit);
      const files = httpsServer === undefined ? undefined : connectFiles(transfer, context, id, httpsServer);
      if (files) opened.push(files);
      return { files };
    };
    return (await collections.get(id, connect, signal)).files;
  };

  const spotOf = async (key: string, signal?: AbortSignal): Promise<Spot> => {
    const place = placeOf(key, options);
    const [path, files] = await Promise.all([
      transfer.absolute(place, signal),
      filesOf(place.endpoint, signal),
    ]);
    return { endpoint: place.endpoint, path, files };
  };
  const show = (key: string) => {
    const { endpoint, path } = placeOf(key, options);
    return `${endpoint}:${path}`;
  };

  const statSpot = async (spot: Spot, key: string, signal?: AbortSignal): Promise<StoredFile | undefined> => {
    const found = await spot.files?.stat(spot.path.slice(1), signal);
    if (found !== undefined) {
      const { etag, modified } = found.ref as HttpFileRef;
      if (etag !== undefined || modified !== undefined) return { ...found, key, ref: { ...found.ref, key } };
    } else if (spot.files !== undefined) return undefined;
    const entry = await transfer.stat(spot, signal);
    return entry?.type === 'file' ? { ...toListed(key, entry), ...revisionOf(key, entry) } : undefined;
  };
  const stat = async (key: string, signal?: AbortSignal) => statSpot(await spotOf(key, signal), key, signal);

  /** The entry that Transfer has there, if it is still this revision. Throws STALE if not. */
  const sameEntry = async (spot: Spot, { key, changed }: GlobusRef, signal?: AbortSignal) => {
    const entry = await transfer.stat(spot, signal);
    if (entry === undefined || changed === undefined || revisionOf(key, entry).revision === changed)
      return entry;
    throw new SregistryError('STALE', `${show(key)} has been replaced since it was looked up`);
  };

  /** The file if it still is this revision; undefined if it is gone. Throws STALE if it was replaced. */
  const statSame = (spot: Spot, ref: GlobusRef, signal?: AbortSignal): Promise<object | undefined> =>
    spot.files && ref.changed === undefined
      ? spot.files.statSame({ ...ref, key: spot.path.slice(1) }, signal)
      : sameEntry(spot, ref, signal);

  const putHidden = async (hidden: Spot, file: SourceFile, { progress, signal }: PutOptions) => {
    const { files } = hidden;
    if (files === undefined) return local.send(file.open(), hidden, file.size, { progress, signal });
    await files.put(hidden.path.slice(1), file, signal);
    if (await files.isIntact(hidden.path.slice(1), file, signal)) return;
    throw new SregistryError(
      'CORRUPT',
      `${hidden.endpoint}:${hidden.path}: the collection received other bytes than were sent`,
    );
  };

  /** Writes a hidden file beside `spot`, and renames it. */
  const replace = async (
    spot: Spot,
    key: string,
    {
      size,
      ifAbsent,
      signal,
    }: { size: number; ifAbsent?: boolean | undefined; signal?: AbortSignal | undefined },
    write: (hidden: Spot) => Promise<void>,
  ): Promise<StoredFile> => {
    const folder = posix.dirname(spot.path);
    const hidden = { ...spot, path: hiddenBeside(spot.path) };
    const present = await statSpot(spot, key, signal);
    if (present === undefined) await transfer.makeFolder({ ...spot, path: folder }, signal);
    try {
      await write(hidden);
      if (ifAbsent && (await transfer.stat(spot, signal)) !== undefined)
        throw new SregistryError('EXISTS', `${show(key)} already exists`, { status: 409 });
      await transfer.rename(hidden, spot.path, !ifAbsent, signal);
      const stored = await statSpot(spot, key, signal);
      if (stored?.size === size) return stored;
      throw new SregistryError('STALE', `${show(key)} was replaced or removed during the write`);
    } catch (error) {
      const limit = AbortSignal.timeout(CLEANUP_LIMIT);
      if (await transfer.stat(hidden, limit).catch(() => undefined))
        await transfer.remove(hidden, { signal: limit }).catch(() => {});
      throw error;
    }
  };

  async function* endpoints(signal?: AbortSignal): AsyncGenerator<Page> {
    const ids = new Set<string>();
    for (const scope of ['my-endpoints', 'shared-with-me'])
      for await (const { id } of transfer.search(scope, undefined, signal)) ids.add(id);
    yield { files: [], folders: [...ids] };
  }

  async function* list(folder: string, signal?: AbortSignal): AsyncGenerator<Page> {
    if (folder === '' && options.endpoint === undefined) return yield* endpoints(signal);
    const { files, ...place } = await spotOf(folder, signal);
    const entries = Array.fromAsync(transfer.list(place, signal));
    // Nobody may have pushed to the folder of images yet.
    const isRoot = folder === '' || isId(folder.slice(0, -1));
    const all = (await (isRoot ? unlessAbsent(entries) : entries)) ?? [];
    const listed = all.filter(({ type }) => type === 'file');
    yield {
      folders: all.filter(({ type }) => type === 'dir').map(({ name }) => name),
      files: listed.map((entry) => {
        const key = folder + entry.name;
        // HTTPS has validators of its own, which only a request for the file tells.
        return { ...toListed(key, entry), ...(files === undefined && revisionOf(key, entry)) };
      }),
    };
  }

  return {
    target: options.endpoint === undefined ? transfer.base.origin : `globus://${show('')}`,
    hasFolders: true,
    show,
    stat,
    list,
    open: async (ref, range) => {
      const spot = await spotOf(ref.key, range.signal);
      if (spot.files && (ref as GlobusRef).changed === undefined)
        return spot.files.open({ ...ref, key: spot.path.slice(1) }, range);
      const entry = await sameEntry(spot, ref, range.signal);
      if (entry === undefined) throw absent(show(ref.key));
      if (spot.files === undefined) return local.open(spot, entry, range);
      return verifiedStream(await spot.files.open({ key: spot.path.slice(1) }, range), async () => {
        if ((await sameEntry(spot, ref, range.signal)) === undefined) throw absent(show(ref.key));
      });
    },
    put: async (key, file, put) => {
      const spot = await spotOf(key, put.signal);
      return replace(spot, key, { ...put, size: file.size }, (hidden) => putHidden(hidden, file, put));
    },
    getSmall: async (key, signal) => {
      const spot = await spotOf(key, signal);
      if (spot.files) return spot.files.getSmall(spot.path.slice(1), signal);
      const entry = await transfer.stat(spot, signal);
      if (entry?.type !== 'file' || entry.size > SIDECAR_MAX) throw absent(show(key));
      return local.read(spot, entry, signal);
    },
    putSmall: async (key, bytes, signal) => {
      const spot = await spotOf(key, signal);
      if (spot.files) return spot.files.putSmall(spot.path.slice(1), bytes, signal);
      await replace(spot, key, { size: bytes.length, signal }, (hidden) =>
        local.send(Readable.from([bytes]), hidden, bytes.length, { signal }),
      );
    },
    remove: async (ref, signal) => {
      const spot = await spotOf(ref.key, signal);
      if ((await statSame(spot, ref, signal)) !== undefined) await transfer.remove(spot, { signal });
    },
    copy: async (from, key, { size, signal }) => {
      const [source, target] = await Promise.all([spotOf(from.key, signal), spotOf(key, signal)]);
      if ((await statSame(source, from, signal)) === undefined) throw absent(show(from.key));
      return replace(target, key, { size, signal }, async (hidden) => {
        await transfer.copy(source, hidden, size, { signal });
        if ((await statSame(source, from, signal)) === undefined) throw absent(show(from.key));
      });
    },
    isRef: ({ etag, modified, changed }) =>
      [etag, modified, changed].every((one) => one === undefined || typeof one === 'string'),
    check: async (signal) => {
      for await (const _ of list('', signal)) return;
    },
    close: async () => {
      await local.close();
      await Promise.all([...opened.map((files) => files.close()), transfer.close()]);
    },
  };
}

/** The files of a collection over HTTPS. Without a login to it, only what is public there. */
function connectFiles({ base }: Transfer, context: GlobusContext, id: string, server: string): HttpFiles {
  // The address is what the owner of a collection wrote.
  const address = URL.parse(server);
  const isSecure =
    address?.protocol === 'https:' || (isLoopback(address?.host ?? '') && isLoopback(base.host));
  if (address === null || !isSecure)
    throw new SregistryError('SERVICE', `${id}: refusing to read files from ${server.slice(0, 200)}`, {
      hint: 'a collection must have an https address',
    });
  const url = folderAddress(address.href);
  const { name, env } = context;
  const credentials = credentialsFor(id, context);
  const hint = `log in with \`sregistry auth login ${name}\`, and name the collection ${id}`;
  const http = createHttpClient({
    base: url,
    env,
    // Without this header, a collection sends a browser to a page to log in.
    headers: { 'x-requested-with': 'XMLHttpRequest' },
    ...credentials,
    interpret: explainFor(name),
    hints: { UNAUTHORIZED: hint, ...(credentials === undefined && { FORBIDDEN: hint }) },
  });
  return httpFiles(http, url);
}

function toListed(key: string, entry: Entry): ListedFile {
  return { key, size: entry.size, modified: dateOf(entry) };
}

/** The revision by what Transfer tells of a file. */
function revisionOf(key: string, { size, modified }: Entry) {
  const changed = `${modified} ${size}`;
  const ref: GlobusRef = { key, changed };
  return { size, revision: changed, ref };
}

const absent = (what: string) => new SregistryError('NOT_FOUND', `${what} does not exist`);
