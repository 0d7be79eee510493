/** One entry of a layer's table of contents, checked. Tables come from strangers, as archives do. */
import { parseDate } from '../../base/date.ts';
import { malformed } from '../binary.ts';
import type { EntryAttributes, LayerEntry } from './entry.ts';
import { beyondLimit, type LayerLimits } from './limits.ts';
import type { Where } from './tar-header.ts';

/** An entry as JSON has it. Go leaves out what is 0 or empty. */
export type TocItem = Readonly<Record<string, unknown>>;

/** The table tells too little to read the layer by it. */
export class InsufficientToc extends Error {}

const MAX_ID = 0xffffffff;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** What Go writes for bytes that are not UTF-8. */
const REPLACEMENT = '\ufffd';

/** A whole number from 0; 0 without the field. @throws {SregistryError} NOT_AN_IMAGE. */
export function tocNumber(item: TocItem, field: string, where: Where): number {
  const value = item[field] ?? 0;
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw malformed(`${where()} gives an impossible ${field}`);
  return value as number;
}

/**
 * A text as a byte string; empty without the field.
 * @throws {SregistryError} NOT_AN_IMAGE if it has a NUL.
 * @throws {InsufficientToc} if the archive has other bytes there, which JSON cannot hold.
 */
export function tocText(item: TocItem, field: string, where: Where): string {
  const value = item[field] ?? '';
  if (typeof value !== 'string' || value.includes('\0')) throw malformed(`${where()} has no usable ${field}`);
  return byteString(value);
}

function byteString(text: string): string {
  if (text.includes(REPLACEMENT) || !text.isWellFormed()) throw new InsufficientToc();
  return Buffer.from(text).toString('latin1');
}

/**
 * The entry of anything but a chunk; the offset of a file is 0.
 * @throws {SregistryError} NOT_AN_IMAGE if it cannot be right, NOT_PRESENTABLE beyond a limit.
 * @throws {InsufficientToc} as {@link tocText}.
 */
export function toLayerEntry(item: TocItem, path: string, where: Where, limits: LayerLimits): LayerEntry {
  const attributes = attributesOf(item, path, where);
  const target = () => tocText(item, 'linkName', where);
  switch (item.type) {
    case 'reg': {
      const size = tocNumber(item, 'size', where);
      if (size > limits.fileSize) throw beyondLimit(`${where()} claims a file of ${size} bytes`);
      return { type: 'file', ...attributes, size, offset: 0 };
    }
    case 'dir':
      return { type: 'directory', ...attributes };
    case 'symlink':
      return { type: 'symlink', ...attributes, target: target() };
    case 'hardlink':
      return { type: 'hard-link', ...attributes, target: target() };
    case 'fifo':
      return { type: 'fifo', ...attributes };
    case 'char':
    case 'block': {
      const [major, minor] = [tocNumber(item, 'devMajor', where), tocNumber(item, 'devMinor', where)];
      if (major > 0xfff || minor > 0xfffff)
        throw malformed(`${where()} gives an impossible device: ${major}, ${minor}`);
      return {
        type: item.type === 'char' ? 'character-device' : 'block-device',
        ...attributes,
        major,
        minor,
      };
    }
    default:
      throw malformed(`${where()} has the unknown type ${JSON.stringify(String(item.type).slice(0, 40))}`);
  }
}

function attributesOf(item: TocItem, path: string, where: Where): EntryAttributes {
  const attributes = {
    path,
    // Some tools leave the bits of the type in it.
    mode: tocNumber(item, 'mode', where) % 0o10000,
    uid: idOf(item, 'uid', where),
    gid: idOf(item, 'gid', where),
    modified: timeOf(item, where),
  };
  const xattrs = xattrsOf(item.xattrs, where);
  return xattrs === undefined ? attributes : { ...attributes, xattrs };
}

function idOf(item: TocItem, field: string, where: Where): number {
  const id = tocNumber(item, field, where);
  if (id > MAX_ID) throw malformed(`${where()} gives an impossible user or group: ${id}`);
  return id;
}

/** Seconds since 1970 of a time as RFC 3339 writes it. */
function timeOf({ modtime }: TocItem, where: Where): number {
  if (modtime === undefined || modtime === null || modtime === '') return 0;
  const date = typeof modtime === 'string' && modtime.length < 50 ? parseDate(modtime) : undefined;
  if (date === undefined) throw malformed(`${where()} gives an impossible modtime`);
  return Math.floor(date.getTime() / 1000);
}

/** Values are base64. Go's reader of archives drops those that are empty. */
function xattrsOf(value: unknown, where: Where): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value))
    throw malformed(`${where()} has damaged extended attributes`);
  let xattrs: Record<string, string> | undefined;
  for (const [name, packed] of Object.entries(value)) {
    if (typeof packed !== 'string' || !BASE64.test(packed) || name.includes('\0'))
      throw malformed(`${where()} has damaged extended attributes`);
    if (packed === '') continue;
    xattrs ??= Object.create(null) as Record<string, string>;
    xattrs[byteString(name)] = Buffer.from(packed, 'base64').toString('latin1');
  }
  return xattrs;
}
