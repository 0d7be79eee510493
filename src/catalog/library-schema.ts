/**
 * The schema of sregistry.db. The tables `collection` and `container` are exactly those that SQLAlchemy makes for the Python
 * client, so that each program can use the other's database. Never add to them. A table of its own, which the Python client
 * ignores, has what only this program knows.
 */

const COLLECTION = `CREATE TABLE IF NOT EXISTS collection (
	id INTEGER NOT NULL, 
	name VARCHAR(150), 
	token VARCHAR(50), 
	created_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
`;

const CONTAINER = `CREATE TABLE IF NOT EXISTS container (
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
);
`;

/** sha256 of stored files: true for the file at `path` as long as it has this revision (size, time, inode). */
const DIGESTS = `CREATE TABLE IF NOT EXISTS sregistry_digest (
  path TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  revision TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS sregistry_digest_digest ON sregistry_digest (digest);
`;

export const LIBRARY_MIGRATIONS: readonly string[] = [COLLECTION + CONTAINER + DIGESTS];
