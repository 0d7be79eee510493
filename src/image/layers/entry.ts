/**
 * What the archive of a layer says about one file. Plain data, so that an index of a layer can be kept as JSON. Paths, targets
 * and extended attributes are byte strings: one character (0 to 255) for each byte.
 */

export interface EntryAttributes {
  /** As the archive spells it: `./bin/`, `/bin`, `bin`. */
  readonly path: string;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds since 1970, rounded down; may be negative. */
  readonly modified: number;
  readonly xattrs?: Readonly<Record<string, string>>;
}

export interface FileEntry extends EntryAttributes {
  readonly type: 'file';
  /** Bytes, holes included. */
  readonly size: number;
  /** Where the contents begin in the archive. */
  readonly offset: number;
  /** Of a sparse file: its ranges that are no holes, sorted. Their bytes are in the archive one behind the other, from `offset`. */
  readonly ranges?: readonly SparseRange[];
}

/** A range of a sparse file: the place in the file, and bytes. */
export type SparseRange = readonly [at: number, length: number];

/** Another name of what is at `target`, a path like those of entries. */
export interface HardLinkEntry extends EntryAttributes {
  readonly type: 'hard-link';
  readonly target: string;
}

export interface SymlinkEntry extends EntryAttributes {
  readonly type: 'symlink';
  readonly target: string;
}

export interface DeviceEntry extends EntryAttributes {
  readonly type: 'block-device' | 'character-device';
  readonly major: number;
  readonly minor: number;
}

export interface DirectoryEntry extends EntryAttributes {
  readonly type: 'directory';
}

export interface FifoEntry extends EntryAttributes {
  readonly type: 'fifo';
}

/** What is not a directory and not a further name of something. */
export type LeafEntry = FileEntry | SymlinkEntry | DeviceEntry | FifoEntry;
export type LayerEntry = LeafEntry | DirectoryEntry | HardLinkEntry;
