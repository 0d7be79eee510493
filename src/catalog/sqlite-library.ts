/** The library over sregistry.db and the storage folder. */
import { existsSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SregistryError } from '../base/errors.ts';
import { fileError } from '../base/files.ts';
import { folderOf, type ImageName } from '../image/name.ts';
import { formatImageName, parseImageName, removeUri } from '../image/names.ts';
import { type Container, type ContainerFields, type ContainerRow, fromRow, toFields } from './container.ts';
import { type LabelFilter, type LabelUse, labelsOf, labelUses } from './labels.ts';
import type { Addition, Library, LibraryOptions, Query } from './library.ts';
import { LibraryTables } from './library-tables.ts';
import { imageFolder, imagePath, removeEmptyFolders, removeOriginal, settle, stage } from './storage.ts';

const DEFAULT_COLLECTION = 'library';

export class SqliteLibrary implements Library {
  readonly #storage: string;
  readonly #tables: LibraryTables;

  constructor({ databaseFile, storage }: LibraryOptions) {
    this.#storage = storage;
    this.#tables = new LibraryTables(databaseFile);
  }

  async add(addition: Addition): Promise<Container> {
    const { file, transfer = 'move', url, client } = addition;
    const wanted = canonical(addition.name);
    const { containers, digests } = this.#tables.write();
    if (file === undefined) {
      const metrics = metricsOf(addition, wanted);
      return fromRow(
        containers.exclusive(() => containers.put({ name: wanted, file, url, client, metrics })),
      );
    }
    const staged = await stage(file, imageFolder(this.#storage, wanted), transfer, addition);
    const { name, digest } = await identify(staged, wanted, addition);
    const path = imagePath(this.#storage, name);
    const row = settle(staged, path, (place) =>
      containers.exclusive(() => {
        if (addition.ifAbsent) refuseNamesake(containers.find(wanted), wanted);
        const entered = containers.put({ name, file: path, url, client, metrics: metricsOf(addition, name) });
        place();
        digests.put(path, digest);
        return entered;
      }),
    );
    if (transfer === 'move') await removeOriginal(file, path);
    return fromRow(row);
  }

  get(query: Query): Container | undefined {
    const row = this.#tables.read()?.containers.find(nameOf(query));
    return row === undefined ? undefined : fromRow(row);
  }

  images(query = ''): Container[] {
    const containers = this.#tables.read()?.containers;
    if (containers === undefined) return [];
    const words = query.split(/\s+/).filter((word) => word !== '' && word !== '*');
    const [first = [], ...more] = [words[0], ...words.slice(1)].map((word) => containers.search(word));
    const others = more.map((rows) => new Set(rows.map(({ id }) => id)));
    return first.filter(({ id }) => others.every((ids) => ids.has(id))).map(fromRow);
  }

  inspect(query: Query): ContainerFields {
    return toFields(this.#find(query));
  }

  async mv(query: Query, path: string): Promise<Container> {
    const row = this.#find(query);
    const file = fileOf(row);
    const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
    const target = isFolder ? join(resolve(path), basename(file)) : resolve(path);
    if (!existsSync(dirname(target))) {
      throw new SregistryError('NOT_FOUND', `${dirname(target)} does not exist`, { hint: 'Make it first' });
    }
    const { containers } = this.#tables.write();
    return this.#relocate(file, target, () => containers.setFile(row.id, target));
  }

  async rename(query: Query, to: Query): Promise<Container> {
    const row = this.#find(query);
    const version = row.version || undefined;
    const name = { ...nameOf(to), version };
    const { containers } = this.#tables.write();
    const namesake = containers.find(name);
    if (namesake !== undefined && folderOf(fromRow(namesake).name) === folderOf(name)) {
      throw exists(formatImageName(name));
    }
    // Only an image with a version has a place in the storage. The file of any other stays where it is.
    if (row.image === null || version === undefined) {
      return fromRow(
        containers.exclusive(() => containers.rename(row.id, name, row.image ?? undefined)) ?? row,
      );
    }
    const target = imagePath(this.#storage, { ...name, version });
    return this.#relocate(fileOf(row), target, () => containers.rename(row.id, name, target));
  }

  async rm(query: Query): Promise<Container> {
    const row = this.#find(query);
    const { containers, digests } = this.#tables.write();
    containers.exclusive(() => containers.remove(row.id));
    const { image } = row;
    if (image !== null && containers.withFile(image).length === 0) {
      try {
        await rm(image, { force: true });
        await removeEmptyFolders(this.#storage, dirname(image));
      } catch (error) {
        throw fileError(`remove ${formatImageName(fromRow(row).name)} from the disk:`, image, error);
      }
      digests.remove(image);
    }
    return fromRow(row);
  }

  labels(filter: LabelFilter = {}): LabelUse[] {
    const labelled = this.images().map((container) => [container, labelsOf(container.metrics)] as const);
    return labelUses(labelled, filter);
  }

  findByDigest(digest: string): Container | undefined {
    const tables = this.#tables.read();
    if (tables === undefined) return undefined;
    const { containers, digests } = tables;
    const rows = [
      ...containers.withVersion(digest, digest.replace(/^sha256:/, '')),
      ...(digests?.paths(digest) ?? []).flatMap((path) => containers.withFile(path)),
    ];
    return rows.map(fromRow).find((container) => this.digestOf(container) === digest);
  }

  digestOf({ file, name, created }: Container): string | undefined {
    if (file === undefined) return undefined;
    const known = this.#tables.read()?.digests?.get(file);
    if (known !== undefined) return known;
    // The Python client's version is the sha256 of the file when it was added. The file's time shows a later change.
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined || created === undefined || stats.mtimeMs > created.getTime() + 1000)
      return undefined;
    return /^[0-9a-f]{64}$/.test(name.version ?? '') ? `sha256:${name.version}` : undefined;
  }

  close(): void {
    this.#tables.close();
  }

  #find(query: Query): ContainerRow {
    const row = this.#tables.read()?.containers.find(nameOf(query));
    if (row !== undefined) return row;
    const text = typeof query === 'string' ? query : formatImageName(query);
    throw new SregistryError('NOT_FOUND', `${text} is not in the library`, {
      hint: 'sregistry images lists the images in the library',
    });
  }

  /** Moves the file of a container to `target` while `change` changes its row. */
  async #relocate(file: string, target: string, change: () => ContainerRow | undefined): Promise<Container> {
    assertFree(target);
    const { containers, digests } = this.#tables.write();
    const digest = digests.get(file);
    const staged = await stage(file, dirname(target), 'move', {});
    const row = settle(staged, target, (place) =>
      containers.exclusive(() => {
        const changed = change();
        if (changed === undefined) throw new SregistryError('NOT_FOUND', `${file} was removed meanwhile`);
        assertFree(target);
        place();
        digests.remove(file);
        if (digest !== undefined) digests.put(target, digest);
        return changed;
      }),
    );
    await removeOriginal(file, target);
    await removeEmptyFolders(this.#storage, dirname(file));
    return fromRow(row);
  }
}

/** The digest of the staged bytes, and the version of the image: its name's, else the digest. */
async function identify(staged: string, name: ImageName, addition: Addition) {
  try {
    const digest = await digestOfStaged(staged, addition);
    const version = name.version ?? digest.replace(/^sha256:/, '');
    return { digest, name: { ...name, version } };
  } catch (error) {
    await rm(staged, { force: true });
    throw fileError('read', staged, error);
  }
}

async function digestOfStaged(staged: string, { file, transfer = 'move', digest, signal }: Addition) {
  if (digest !== undefined && transfer === 'move') return digest;
  // Loads threads, which most uses of the library do not need.
  const { sha256File } = await import('../base/hash.ts');
  const actual = await sha256File(staged, { signal });
  if (digest === undefined || actual === digest) return actual;
  throw new SregistryError(
    'CORRUPT',
    `The copy of ${file} has ${actual}, the original should have ${digest}`,
    {
      hint: 'Check the disks and try again',
    },
  );
}

function nameOf(query: Query): ImageName {
  if (typeof query !== 'string') return canonical(query);
  return canonical(parseImageName(removeUri(query), { lowercase: false }));
}

/**
 * Parses the name again as the Python client parses its text, so that one image has one row: a path of the mount does not tell
 * a registry from a collection.
 */
function canonical(name: ImageName): ImageName {
  const whole = { ...name, collection: name.collection || DEFAULT_COLLECTION };
  const parsed = parseAgain(whole);
  if (parsed === undefined || folderOf(parsed) !== folderOf(whole)) return whole;
  const { registry, collection, image, tag, version } = parsed;
  return { registry, collection, image, tag, version };
}

/** Undefined for a name that no text gives. Such a name finds nothing and cannot be stored. */
function parseAgain(name: ImageName): ImageName | undefined {
  try {
    return parseImageName(formatImageName(name), { lowercase: false });
  } catch {
    return undefined;
  }
}

/** Adds the names to the metrics, as the Python client does. They win over what the image says of itself. */
function metricsOf({ metrics }: Addition, name: ImageName): Record<string, unknown> {
  const { registry, collection, image, tag, version } = name;
  const names = { registry, collection, image, tag, version, uri: formatImageName(name) };
  return { ...metrics, ...names, type: 'container' };
}

function fileOf(row: ContainerRow): string {
  if (row.image !== null && existsSync(row.image)) return row.image;
  const uri = formatImageName(fromRow(row).name);
  throw new SregistryError(
    'NOT_FOUND',
    `The file of ${uri} does not exist: ${row.image ?? 'it was never stored'}`,
    {
      hint: `Pull it again, or remove it with: sregistry rm ${uri}`,
    },
  );
}

/** `row` is what the name finds. If the name has no registry, that may be an image of another folder. */
function refuseNamesake(row: ContainerRow | undefined, name: ImageName): void {
  const isThere = row !== undefined && row.image !== null && existsSync(row.image);
  if (isThere && folderOf(fromRow(row).name).toLowerCase() === folderOf(name).toLowerCase())
    throw exists(formatImageName(name));
}

function assertFree(path: string): void {
  if (existsSync(path)) throw exists(path);
}

function exists(what: string): SregistryError {
  return new SregistryError('EXISTS', `${what} exists already`, {
    hint: 'Remove it first, or choose another name',
  });
}
