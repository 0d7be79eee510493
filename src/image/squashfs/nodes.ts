/**
 * The tree that a SquashFS is written from. Names, targets and extended attributes are byte strings: JavaScript strings with
 * one character (0 to 255) for each byte, as `Buffer.toString('latin1')` gives. They compare as bytes do, and a name that is
 * not UTF-8 survives.
 */

/** What every kind of node has. */
export interface Attributes {
  /** Permission bits, 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Seconds since 1970. A SquashFS holds 0 to 2^32 - 1: others become the nearest of these. */
  modified: number;
  /** By full name: `security.capability`. A SquashFS holds those of `user.`, `trusted.` and `security.` only. */
  xattrs?: Readonly<Record<string, string>> | undefined;
}

export interface DirectoryNode extends Attributes {
  readonly type: 'directory';
  /** By name, in any order. The same node under two names is a hard link; a directory has one name only. */
  readonly entries: ReadonlyMap<string, { readonly node: TreeNode }>;
}

export interface FileNode extends Attributes {
  readonly type: 'file';
  /** The contents in order. */
  pieces: readonly Piece[];
}

export interface SymlinkNode extends Attributes {
  readonly type: 'symlink';
  readonly target: string;
}

export interface DeviceNode extends Attributes {
  readonly type: 'block-device' | 'character-device';
  /** 0 to 0xfff, and 0 to 0xfffff. */
  readonly major: number;
  readonly minor: number;
}

export interface PipeNode extends Attributes {
  readonly type: 'fifo' | 'socket';
}

export type LeafNode = FileNode | SymlinkNode | DeviceNode | PipeNode;
export type TreeNode = DirectoryNode | LeafNode;

/** Bytes of a file: a range of a source (a number that the caller gives its sources), bytes in memory, or zeros. */
export type Piece = SourcePiece | BytesPiece | ZeroPiece;

export interface SourcePiece {
  readonly length: number;
  readonly source: number;
  readonly offset: number;
}

export interface BytesPiece {
  readonly length: number;
  readonly bytes: Uint8Array;
}

export interface ZeroPiece {
  readonly length: number;
}

export function bytesPiece(bytes: Uint8Array): BytesPiece {
  return { length: bytes.length, bytes };
}

/** Bytes of a file in all. */
export function sizeOfPieces(pieces: readonly Piece[]): number {
  let size = 0;
  for (const { length } of pieces) size += length;
  return size;
}

/** The part of a piece from `start`, of `length` bytes. */
export function slicePiece(piece: Piece, start: number, length: number): Piece {
  if (start === 0 && length === piece.length) return piece;
  if ('bytes' in piece) return { length, bytes: piece.bytes.subarray(start, start + length) };
  if ('source' in piece) return { length, source: piece.source, offset: piece.offset + start };
  return { length };
}
