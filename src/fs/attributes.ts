/** What `stat` shows. */
import { constants } from 'node:fs';

const { S_IFDIR, S_IFREG } = constants;

/** In the terms of stat(2): sizes in bytes, `blocks` in units of 512 bytes. */
export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number;
  readonly nlink: number;
  readonly mtime: Date;
  readonly atime: Date;
  readonly ctime: Date;
}

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly writable: boolean;
  /** Time of folders and files that have none of their own. */
  readonly since: Date;
}

export function folderAttributes(owner: Ownership): Attributes {
  return attributes(owner, S_IFDIR | permissions(owner), 0, 0, owner.since);
}

export interface FileFacts {
  readonly size: number;
  readonly modified?: Date | undefined;
  /** Bytes on local disk. */
  readonly local?: number;
  /** Who may open it: nobody if it is not an image, its owner until it is published. Default: everybody. */
  readonly access?: 'nobody' | 'owner' | undefined;
}

export function fileAttributes(owner: Ownership, facts: FileFacts): Attributes {
  const mask = facts.access === undefined ? 0o777 : ACCESS[facts.access];
  return attributes(
    owner,
    S_IFREG | (permissions(owner) & mask),
    facts.size,
    facts.local ?? 0,
    facts.modified ?? owner.since,
  );
}

/** The attributes of a name that may or may not exist. It can be written, and nothing is known of its bytes. */
export function unseenAttributes(owner: Ownership): Attributes {
  return attributes(owner, S_IFREG | 0o200, 0, 0, owner.since);
}

const ACCESS = { nobody: 0, owner: 0o700 } as const;

/** An image can be executed. */
function permissions(owner: Ownership): number {
  return owner.writable ? 0o755 : 0o555;
}

function attributes(owner: Ownership, mode: number, size: number, local: number, time: Date): Attributes {
  return {
    mode,
    uid: owner.uid,
    gid: owner.gid,
    size,
    blocks: Math.ceil(local / 512),
    nlink: 1,
    mtime: time,
    atime: time,
    ctime: time,
  };
}
