/** sregistry.db is shared with the Python client: its DDL, as SQLAlchemy 2 writes it for the tool's models, and its rows. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { openLibrary } from '../../src/catalog/open-library.ts';
import { parseImageName } from '../../src/image/names.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const PYTHON_DDL = `
CREATE TABLE collection (
	id INTEGER NOT NULL, 
	name VARCHAR(150), 
	token VARCHAR(50), 
	created_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE container (
	id INTEGER NOT NULL, 
	created_at DATETIME, 
	metrics TEXT NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	tag VARCHAR(250) NOT NULL, 
	image VARCHAR(250), 
	url VARCHAR(500), 
	uri VARCHAR(500), 
	client VARCHAR(50) NOT NULL, 
	version VARCHAR(250), 
	collection_id INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT _container_uc UNIQUE (collection_id, name, tag, client, version), 
	FOREIGN KEY(collection_id) REFERENCES collection (id)
);`;

/** Its tables as SQLite keeps them; our own are another matter. */
function pythonSchema(databaseFile: string): unknown[] {
  const db = new Sqlite(databaseFile, { readonly: true });
  const rows = db
    .prepare(
      `SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name IN ('collection', 'container') ORDER BY name`,
    )
    .all();
  db.close();
  return rows;
}

function pythonDatabase(folder: string): string {
  const databaseFile = join(folder, 'sregistry.db');
  const image = join(folder, 'vsoch-hello-world-latest.simg');
  writeFileSync(image, 'an image of an older layout');
  const db = new Sqlite(databaseFile);
  db.exec(PYTHON_DDL);
  db.prepare("INSERT INTO collection VALUES (1, 'vsoch', 'a-token', '2019-03-04 05:06:07')").run();
  db.prepare(
    `INSERT INTO container VALUES (1, '2019-03-04 05:06:07', ?, 'hello-world', 'latest', ?, NULL,
       'vsoch/hello-world:latest@ed9755a0871f04db3e14971bec56a33f', 'hub', 'ed9755a0871f04db3e14971bec56a33f', 1)`,
  ).run(JSON.stringify({ MAINTAINER: 'vanessa', collection: 'vsoch', type: 'container' }), image);
  db.prepare(
    `INSERT INTO container VALUES (2, NULL, '{}', 'bare', 'latest', NULL, 'https://hub/bare', NULL, 'hub', NULL, 1)`,
  ).run();
  db.close();
  return databaseFile;
}

function open(databaseFile: string) {
  const library = openLibrary({ databaseFile, storage: join(databaseFile, '..', 'shub') });
  onTestFinished(() => library.close());
  return library;
}

test('a database of the Python client opens as it is, its files where they lie', () => {
  const library = open(pythonDatabase(temporaryFolder()));
  const container = library.get('vsoch/hello-world');
  expect(readFileSync(container?.file as string, 'utf8')).toBe('an image of an older layout');
  expect(container?.created).toEqual(new Date('2019-03-04T05:06:07Z'));
  expect(library.images().map(({ uri }) => uri)).toEqual([
    'vsoch/bare:latest',
    'vsoch/hello-world:latest@ed9755a0871f04db3e14971bec56a33f',
  ]);
  expect(library.labels()).toMatchObject([{ key: 'MAINTAINER', value: 'vanessa' }]);
});

test('after every kind of change the database still has the schema of the Python client, to the letter', async () => {
  const folder = temporaryFolder();
  const databaseFile = pythonDatabase(folder);
  const before = pythonSchema(databaseFile);
  const library = open(databaseFile);
  const file = join(folder, 'new.sif');
  writeFileSync(file, 'new');
  await library.add({ name: parseImageName('lab/new:1'), file, client: 's3' });
  await library.rename('vsoch/hello-world', 'vsoch/renamed:2');
  await library.mv('lab/new:1', join(folder, 'moved.sif'));
  await library.rm('vsoch/bare');
  library.close();
  expect(pythonSchema(databaseFile)).toEqual(before);
  const db = new Sqlite(databaseFile);
  onTestFinished(() => {
    db.close();
  });
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  expect(db.pragma('foreign_key_check')).toEqual([]);
  expect(db.pragma('journal_mode', { simple: true })).toBe('delete');
});

test('a database of ours has the schema of the Python client, to the letter', async () => {
  const folder = temporaryFolder();
  const theirs = pythonDatabase(folder);
  const ours = join(folder, 'ours', 'sregistry.db');
  await open(ours).add({ name: parseImageName('a/b'), client: 'hub', url: 'https://hub/a/b' });
  expect(pythonSchema(ours)).toEqual(pythonSchema(theirs));
});

test('times are written in the form SQLAlchemy reads', async () => {
  const databaseFile = join(temporaryFolder(), 'sregistry.db');
  await open(databaseFile).add({ name: parseImageName('a/b'), client: 'hub' });
  const db = new Sqlite(databaseFile, { readonly: true });
  onTestFinished(() => {
    db.close();
  });
  const row = db.prepare('SELECT created_at, token FROM collection').get();
  expect(row).toEqual({
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/),
    token: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
});

test('a file that is no database is named, left alone, and said how to mend', () => {
  const databaseFile = join(temporaryFolder(), 'sregistry.db');
  writeFileSync(databaseFile, 'my own notes, not a database '.repeat(100));
  expect(() => open(databaseFile).images()).toThrow(`${databaseFile} is damaged: file is not a database`);
  expect(readFileSync(databaseFile, 'utf8')).toContain('my own notes');
});

test('a database that another program keeps locked is an error that says so', { timeout: 20_000 }, () => {
  const databaseFile = pythonDatabase(temporaryFolder());
  const other = new Sqlite(databaseFile);
  onTestFinished(() => {
    other.close();
  });
  other.exec('BEGIN EXCLUSIVE');
  expect(() => open(databaseFile).images()).toThrow(/another program keeps it locked/);
});
