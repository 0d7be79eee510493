/** What `stat` shows. */
import { constants } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Shown } from './told.ts';

const { S_IFDIR, S_IFREG } = constants;

/** In the terms of stat(2): sizes in bytes, `blocks` in units of 512 bytes. */
export interface Attributes extends Shown {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly blocks: number;
  readonly nlink: number;
  readonly mtime: Date;
}

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly writable: boolean;
  /** Time of folders and files that have none of their own. */
  readonly since: Date;
}

export function folderAttributes(owner: Ownership): Attributes {
  const shown = { size: 0, content: 'folder', changes: 0 };
  return attributes(owner, S_IFDIR | permissions(owner), shown, 0, owner.since);
}

export interface FileFacts extends Shown {
  readonly modified?: Date | undefined;
  /** Bytes on local disk. */
  readonly local?: number;
  /** Who may open it: nobody if it is not an image, its owner until it is published. Default: everybody. */
  readonly access?: 'nobody' | 'owner' | undefined;
}

export function fileAttributes(owner: Ownership, facts: FileFacts): Attributes {
  const mask = facts.access === undefined ? 0o777 : ACCESS[facts.access];
  const time = facts.modified ?? owner.since;
  return attributes(
    owner,
    S_IFREG | (permissions(owner) & mask),
    facts,
    facts.local ?? 0,
    facts.changes === 0 ? timeOf(facts.content, time) : time,
  );
}

/** The attributes of a name that may or may not exist. It can be written, and nothing is known of its bytes. */
export function unseenAttributes(owner: Ownership): Attributes {
  return attributes(owner, S_IFREG | 0o200, UNSEEN_FILE, 0, owner.since);
}

/** What a name shows of which nothing is known. */
export const UNSEEN_FILE: Shown = { size: 0, content: 'unseen', changes: 0 };

/**
 * The time of a content: the second in which it was modified, and milliseconds that follow from what it is. So two revisions of one
 * second have different times, the same ones in every mount (told.ts).
 */
function timeOf(content: string, modified: Date): Date {
  const second = Math.floor(modified.getTime() / 1000) * 1000;
  return new Date(second + (crc32(content) % 1000));
}

const ACCESS = { nobody: 0, owner: 0o700 } as const;

/** An image can be executed. */
function permissions(owner: Ownership): number {
  return owner.writable ? 0o755 : 0o555;
}

function attributes(
  owner: Ownership,
  mode: number,
  { size, content, changes, copy }: Shown,
  local: number,
  time: Date,
): Attributes {
  return {
    mode,
    uid: owner.uid,
    gid: owner.gid,
    size,
    content,
    changes,
    copy,
    blocks: Math.ceil(local / 512),
    nlink: 1,
    mtime: time,
  };
}
