/**
 * Where the cache lies: on a local disk, in the cache directory itself, shared by every process of the user. On a
 * network file system each machine gets a folder of its own below it: the index is a SQLite database and its locks and
 * write-ahead log are only safe between processes of one machine.
 *
 * The cache holds names and bytes of private images, so only its user may enter it.
 */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ensurePrivateFolder } from '../base/private.ts';

/** `f_type` of statfs(2) for file systems that other machines write to as well (linux/magic.h and the vendors' own). */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x19830326, 'BeeGFS'],
  [0x00c36400, 'Ceph'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
  [0xaad7aaea, 'PanFS'],
  [0x01021997, '9P'],
]);

/** Name of the network file system that holds `path`, or undefined on a local one. */
export async function networkFileSystem(path: string): Promise<string | undefined> {
  const { type } = await statfs(path);
  return NETWORK_FILE_SYSTEMS.get(type);
}

export interface CacheLocation {
  /** Folder of everything: state.db, images, staged pushes. */
  readonly root: string;
  /** Name of the network file system it is on, if it is on one. */
  readonly network: string | undefined;
}

/** Folders of the root, which several rooms make. */
const PARTS = ['images', 'staging', 'trash', 'owners'];

/**
 * Creates the cache directory, decides which folder in it this machine uses, and makes all of it private.
 *
 * @throws {SregistryError} SETTINGS if a part of it is another user's or cannot be made private.
 */
export async function locateCache(cacheDir: string): Promise<CacheLocation> {
  ensurePrivateFolder(cacheDir);
  const network = await networkFileSystem(cacheDir);
  const root = network === undefined ? cacheDir : privateRoot(cacheDir);
  for (const part of PARTS.map((name) => join(root, name))) if (existsSync(part)) ensurePrivateFolder(part);
  return { root, network };
}

function privateRoot(cacheDir: string): string {
  const hosts = join(cacheDir, 'hosts');
  const root = join(hosts, hostname());
  for (const folder of [hosts, root]) ensurePrivateFolder(folder);
  return root;
}

/** Folder of an image's entry. Two characters fan out, so that no directory grows too long. */
export function entryFolder(root: string, key: string): string {
  return join(root, 'images', key.slice(0, 2), key);
}

/** Bytes an unprivileged user can still write on the file system of `path`. */
export async function freeSpace(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Bytes of the whole file system of `path`. */
export async function totalSpace(path: string): Promise<number> {
  const { blocks, bsize } = await statfs(path);
  return blocks * bsize;
}
