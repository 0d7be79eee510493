import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import type { Addition, Library } from '../../src/catalog/library.ts';
import { openLibrary } from '../../src/catalog/open-library.ts';
import { parseImageName } from '../../src/image/names.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

interface House {
  readonly folder: string;
  readonly databaseFile: string;
  readonly storage: string;
  readonly library: Library;
  /** A new file with that content, outside the storage. */
  file(content: string, name?: string): string;
  add(name: string, content: string, more?: Partial<Addition>): ReturnType<Library['add']>;
}

function house(): House {
  const folder = temporaryFolder();
  const databaseFile = join(folder, 'db', 'sregistry.db');
  const storage = join(folder, 'shub');
  const library = openLibrary({ databaseFile, storage });
  onTestFinished(() => library.close());
  let count = 0;
  const file = (content: string, name = `image-${count++}.sif`) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const add = (name: string, content: string, more: Partial<Addition> = {}) =>
    library.add({ name: parseImageName(name), file: file(content), client: 'hub', ...more });
  return { folder, databaseFile, storage, library, file, add };
}

const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');

/** Every file below a folder, relative to it. */
const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));

test('asking a library that was never used makes no file', () => {
  const { folder, library } = house();
  expect(library.images()).toEqual([]);
  expect(library.get('vsoch/hello')).toBeUndefined();
  expect(() => library.inspect('vsoch/hello')).toThrow(/vsoch\/hello is not in the library/);
  expect(readdirSync(folder)).toEqual([]);
});

test('an image is moved into the storage under the sha256 of its bytes', async () => {
  const { storage, library, file } = house();
  const path = file('bytes');
  const added = await library.add({
    name: parseImageName('Vsoch/Hello:Pancakes'),
    file: path,
    client: 'hub',
  });
  const stored = join(storage, 'vsoch', 'hello', `pancakes@${sha256('bytes')}.sif`);
  expect(added.file).toBe(stored);
  expect(readFileSync(stored, 'utf8')).toBe('bytes');
  expect(existsSync(path)).toBe(false);
  expect(library.get('vsoch/hello:pancakes')).toEqual(added);
  expect(added.uri).toBe(`vsoch/hello:pancakes@${sha256('bytes')}`);
});

test('an image that is copied in stays where it was, and the copy has the permissions of a new file', async () => {
  const { library, file } = house();
  const path = file('bytes');
  const usual = statSync(path).mode;
  chmodSync(path, 0o400);
  const name = parseImageName('a/b');
  const { file: stored } = await library.add({ name, file: path, client: 'hub', transfer: 'copy' });
  expect(readFileSync(path, 'utf8')).toBe('bytes');
  expect(readFileSync(stored as string, 'utf8')).toBe('bytes');
  expect(statSync(stored as string).mode).toBe(usual);
});

test('a version in the name is kept, and the digest of the file is known all the same', async () => {
  const { library, add, storage } = house();
  const added = await add('a/b:1@v2', 'bytes');
  expect(added.name.version).toBe('v2');
  expect(filesIn(storage)).toEqual(['a/b/1@v2.sif']);
  expect(library.findByDigest(`sha256:${sha256('bytes')}`)?.uri).toBe('a/b:1@v2');
});

test('a registry in the name is a folder of its own, and part of what is asked for', async () => {
  const { library, add, storage } = house();
  await add('quay.io/library/ubuntu:22.04', 'from quay');
  expect(filesIn(storage)[0]).toMatch(/^quay\.io\/library\/ubuntu\/22\.04@/);
  expect(library.get('quay.io/library/ubuntu:22.04')?.name.registry).toBe('quay.io');
  expect(library.get('ghcr.io/library/ubuntu:22.04')).toBeUndefined();
  expect(library.get('library/ubuntu:22.04')?.name.registry).toBe('quay.io');
  await add('library/ubuntu:22.04', 'from nowhere');
  expect(library.get('library/ubuntu:22.04')?.name.registry).toBeUndefined();
});

test('an image is one row, whether its registry was told from its collection or not', async () => {
  const { library, add, file } = house();
  const asText = await add('quay.io/bio/samtools', 'x');
  const path = { collection: 'quay.io/bio', image: 'samtools', tag: 'latest' };
  const asPath = await library.add({ name: path, file: file('x'), client: 'local' });
  expect(asPath.id).toBe(asText.id);
});

test('a collection with a dot stays the collection it was given as', async () => {
  const { library, file } = house();
  const name = { collection: 'my.coll', image: 'x', tag: 'latest' };
  await library.add({ name, file: file('x'), client: 'local' });
  expect(library.get(name)?.name).toMatchObject(name);
});

test('a name without a version means what was added last, and every version stays within reach', async () => {
  const { library, add } = house();
  await add('a/b', 'old');
  await add('a/b', 'new');
  expect(library.get('a/b')?.name.version).toBe(sha256('new'));
  expect(library.get(`a/b@${sha256('old')}`)?.name.version).toBe(sha256('old'));
  expect(library.get(`a/b@sha256:${sha256('old')}`)?.name.version).toBe(sha256('old'));
  await add('a/b', 'old');
  expect(library.get('a/b')?.name.version).toBe(sha256('old'));
  expect(library.images()).toHaveLength(2);
});

test('adding the same image again renews its row and merges what is known of it', async () => {
  const { library, add } = house();
  await add('a/b', 'bytes', { metrics: { MAINTAINER: 'vanessa' }, url: 'https://one' });
  await add('a/b', 'bytes', { metrics: { ORG: 'lab' }, client: 's3' });
  expect(library.images()).toHaveLength(1);
  expect(library.get('a/b')).toMatchObject({
    client: 's3',
    url: 'https://one',
    metrics: { MAINTAINER: 'vanessa', ORG: 'lab', collection: 'a', type: 'container' },
  });
});

test('adding a file that is in its place already, or shares its bytes, loses nothing', async () => {
  const { library, add, folder } = house();
  const { file } = await add('a/b', 'bytes');
  const twin = join(folder, 'twin.sif');
  linkSync(file as string, twin);
  await library.add({ name: parseImageName('a/b'), file: file as string, client: 'hub' });
  expect(readFileSync(file as string, 'utf8')).toBe('bytes');
  await library.add({ name: parseImageName('a/b'), file: twin, client: 'hub' });
  expect(readFileSync(file as string, 'utf8')).toBe('bytes');
  expect(existsSync(twin)).toBe(false);
});

test('moving a symbolic link in takes the bytes it points to, and removes the link only', async () => {
  const { library, file, folder } = house();
  const target = file('bytes', 'target.sif');
  const linkPath = join(folder, 'link.sif');
  symlinkSync(target, linkPath);
  const added = await library.add({ name: parseImageName('a/b'), file: linkPath, client: 'hub' });
  writeFileSync(target, 'changed');
  expect(readFileSync(added.file as string, 'utf8')).toBe('bytes');
  expect(existsSync(linkPath)).toBe(false);
});

test('a file that is not there is an error that names it, and leaves no trace', async () => {
  const { library, folder, storage } = house();
  const missing = join(folder, 'missing.sif');
  const adding = library.add({ name: parseImageName('a/b'), file: missing, client: 'hub' });
  await expect(adding).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(missing),
  });
  expect(library.images()).toEqual([]);
  expect(existsSync(storage) ? filesIn(storage) : []).toEqual([]);
});

test('when the database refuses a row, the image stays where it was and nothing is left in the storage', async () => {
  const { library, add, file, storage, databaseFile } = house();
  await add('a/b', 'first');
  const other = new Sqlite(databaseFile);
  other.exec(`CREATE TRIGGER refuse BEFORE INSERT ON container BEGIN SELECT RAISE(ABORT, 'no more'); END`);
  other.close();
  const path = file('second');
  const adding = library.add({ name: parseImageName('c/d'), file: path, client: 'hub' });
  await expect(adding).rejects.toMatchObject({
    code: 'DATABASE',
    message: expect.stringContaining('no more'),
  });
  expect(readFileSync(path, 'utf8')).toBe('second');
  expect(filesIn(storage)).toEqual([`a/b/latest@${sha256('first')}.sif`]);
});

test('an image can be entered by its address alone', async () => {
  const { library } = house();
  await library.add({ name: parseImageName('a/b'), client: 'hub', url: 'https://hub/a/b' });
  expect(library.get('a/b')).toMatchObject({ file: undefined, url: 'https://hub/a/b' });
});

test('names that would leave the storage are refused', async () => {
  const { library, file } = house();
  for (const name of [
    { collection: '..', image: 'b', tag: 'latest' },
    { collection: 'a', image: 'b', tag: '../../x' },
    { collection: 'a', image: 'b', tag: 'x', version: '../y' },
  ]) {
    await expect(library.add({ name, file: file('x'), client: 'hub' })).rejects.toMatchObject({
      code: 'INVALID_NAME',
    });
  }
});

test('images are found by parts of their names, and a percent sign is only a percent sign', async () => {
  const { library, add } = house();
  await add('vsoch/hello:1', 'a');
  await add('lab/samtools:1.9', 'b');
  const uris = (query?: string) =>
    library.images(query).map(({ name }) => `${name.collection}/${name.image}`);
  expect(uris()).toEqual(['lab/samtools', 'vsoch/hello']);
  expect(uris('*')).toHaveLength(2);
  expect(uris('HELLO')).toEqual(['vsoch/hello']);
  expect(uris('lab/sam')).toEqual(['lab/samtools']);
  expect(uris('1.9')).toEqual(['lab/samtools']);
  expect(uris('%')).toEqual([]);
});

test('inspect shows the row with its collection and its metrics parsed', async () => {
  const { library, add } = house();
  await add('vsoch/hello', 'bytes', { metrics: { A: 'b' } });
  expect(library.inspect('vsoch/hello')).toMatchObject({
    id: 1,
    collection: 'vsoch',
    collection_id: 1,
    name: 'hello',
    tag: 'latest',
    client: 'hub',
    metrics: { A: 'b' },
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/),
  });
});

test('mv takes the file out of the storage, into a folder or under a new name', async () => {
  const { library, add, folder, storage } = house();
  await add('a/b', 'one');
  await add('c/d', 'two');
  const target = join(folder, 'out');
  mkdirSync(target);
  expect((await library.mv('a/b', target)).file).toBe(join(target, `latest@${sha256('one')}.sif`));
  await library.mv('c/d', join(target, 'd.sif'));
  expect(readFileSync(library.get('c/d')?.file as string, 'utf8')).toBe('two');
  expect(filesIn(storage)).toEqual([]);
  expect(existsSync(join(storage, 'a'))).toBe(false);
  expect(library.findByDigest(`sha256:${sha256('two')}`)?.file).toBe(join(target, 'd.sif'));
});

test('mv overwrites nothing and needs a folder that exists', async () => {
  const { library, add, folder, file } = house();
  const { file: stored } = await add('a/b', 'one');
  const taken = file('precious');
  await expect(library.mv('a/b', taken)).rejects.toMatchObject({ code: 'EXISTS' });
  expect(readFileSync(taken, 'utf8')).toBe('precious');
  await expect(library.mv('a/b', join(folder, 'no', 'where.sif'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  expect(readFileSync(stored as string, 'utf8')).toBe('one');
});

test('rename gives an image another name and place, keeps its version, and makes it the newest there', async () => {
  const { library, add, storage } = house();
  await add('a/b', 'one');
  await add('c/d:2', 'two');
  const renamed = await library.rename('a/b', 'c/d:2');
  expect(renamed.uri).toBe(`c/d:2@${sha256('one')}`);
  expect(renamed.file).toBe(join(storage, 'c', 'd', `2@${sha256('one')}.sif`));
  expect(readFileSync(renamed.file as string, 'utf8')).toBe('one');
  expect(library.get('a/b')).toBeUndefined();
  expect(library.get('c/d:2')?.name.version).toBe(sha256('one'));
  expect(existsSync(join(storage, 'a'))).toBe(false);
});

test('rename does not take the place of the same version', async () => {
  const { library, add } = house();
  await add('a/b', 'one');
  await add('c/d', 'one');
  await expect(library.rename('a/b', 'c/d')).rejects.toMatchObject({ code: 'EXISTS' });
  expect(library.get('a/b')).toBeDefined();
});

test('rm removes the row, the file and the folders that are empty then', async () => {
  const { library, add, storage } = house();
  const { file } = await add('a/b', 'one');
  await add('a/c', 'two');
  await library.rm('a/b');
  expect(existsSync(file as string)).toBe(false);
  expect(readdirSync(join(storage, 'a'))).toEqual(['c']);
  expect(library.images()).toHaveLength(1);
  await expect(library.rm('a/b')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('labels are found by key and value, flat or as inspect has them', async () => {
  const { library, add } = house();
  await add('a/b', 'one', { metrics: { MAINTAINER: 'vanessa', deffile: 'Bootstrap: docker' } });
  await add('c/d', 'two', { metrics: { attributes: { labels: { MAINTAINER: 'vanessa', ORG: 'lab' } } } });
  const uses = (filter: { key?: string; value?: string }) =>
    library.labels(filter).map(({ key, value, images }) => [key, value, images.length]);
  expect(uses({})).toEqual([
    ['MAINTAINER', 'vanessa', 2],
    ['ORG', 'lab', 1],
  ]);
  expect(uses({ key: 'ORG' })).toEqual([['ORG', 'lab', 1]]);
  expect(uses({ value: 'vanessa' })).toEqual([['MAINTAINER', 'vanessa', 2]]);
  expect(uses({ key: 'ORG', value: 'vanessa' })).toEqual([]);
});

test('a file that was changed no longer has its digest', async () => {
  const { library, add } = house();
  const { file } = await add('a/b', 'bytes');
  const digest = `sha256:${sha256('bytes')}`;
  expect(library.findByDigest(digest)).toBeDefined();
  writeFileSync(file as string, 'signed');
  const later = new Date(Date.now() + 60_000);
  utimesSync(file as string, later, later);
  expect(library.findByDigest(digest)).toBeUndefined();
});

test('a library that is disabled takes an image without storing it and says what it cannot do', async () => {
  const { folder, file } = house();
  const library = openLibrary({ databaseFile: join(folder, 'x.db'), storage: folder, disabled: true });
  const path = file('bytes');
  const added = await library.add({ name: parseImageName('a/b'), file: path, client: 'hub' });
  expect(added).toMatchObject({ file: path, uri: 'a/b:latest', client: 'hub', id: undefined });
  expect(readFileSync(path, 'utf8')).toBe('bytes');
  expect(() => library.images()).toThrow(/requires the database/);
  await expect(library.rm('a/b')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  expect(existsSync(join(folder, 'x.db'))).toBe(false);
});

test('the database is for its owner only, unless its folder is a group’s', async () => {
  const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
  const { databaseFile, add, library } = house();
  await add('lab/x:1', 'one');
  expect(modeOf(databaseFile)).toBe('600');
  // As the Python client makes it.
  chmodSync(databaseFile, 0o644);
  library.close();
  await add('lab/y:1', 'two');
  expect(modeOf(databaseFile)).toBe('600');
  for (const shared of [0o2755, 0o775]) {
    chmodSync(dirname(databaseFile), shared);
    chmodSync(databaseFile, 0o664);
    library.close();
    await add('lab/z:1', 'three');
    expect(modeOf(databaseFile)).toBe('664');
  }
});
