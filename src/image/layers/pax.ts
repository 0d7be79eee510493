/** Pax records: what a header cannot hold, as `LENGTH KEY=VALUE\n` (POSIX.1-2017 pax, "pax Extended Header"). */
import { malformed } from '../binary.ts';
import type { Where } from './tar-header.ts';

/** Keys and values are byte strings. */
export type PaxRecords = Map<string, string>;

const XATTR = 'SCHILY.xattr.';
const DIGITS = 10;

/**
 * The records, one for a key: a later one wins, except that GNU's pairs of a sparse file's ranges (format 0.0) are
 * collected under `GNU.sparse.map` in the form of format 0.1.
 * @throws {SregistryError} NOT_AN_IMAGE if the records are not as they say.
 */
export function parsePax(bytes: Buffer, where: Where): PaxRecords {
  const records: PaxRecords = new Map();
  const ranges: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { key, value, end } = parseRecord(bytes, at, where);
    at = end;
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') ranges.push(value);
    else records.set(key, value);
  }
  if (ranges.length > 0) records.set('GNU.sparse.map', ranges.join(','));
  return records;
}

function parseRecord(bytes: Buffer, at: number, where: Where) {
  const space = bytes.indexOf(0x20, at);
  const digits = space < 0 ? '' : bytes.toString('latin1', at, Math.min(space, at + DIGITS));
  const end = at + Number(digits);
  if (!/^[0-9]+$/.test(digits) || end > bytes.length || bytes[end - 1] !== 0x0a || end <= space + 1)
    throw malformed(`${where()} has a damaged pax record`);
  const equals = bytes.indexOf(0x3d, space);
  if (equals < 0 || equals >= end || equals === space + 1)
    throw malformed(`${where()} has a pax record without a key`);
  const key = bytes.toString('latin1', space + 1, equals);
  return { key, value: bytes.toString('latin1', equals + 1, end - 1), end };
}

/** The text of a record, undefined without one. @throws {SregistryError} NOT_AN_IMAGE if it has a NUL. */
export function paxText(records: PaxRecords, key: string, where: Where): string | undefined {
  const value = records.get(key);
  // An empty value takes back what a global header said.
  if (value === undefined || value === '') return undefined;
  if (value.includes('\0')) throw malformed(`${where()} has a NUL in its ${key}`);
  return value;
}

/** The number of a record, rounded down. @throws {SregistryError} NOT_AN_IMAGE if it is none. */
export function paxNumber(records: PaxRecords, key: string, where: Where): number | undefined {
  const value = records.get(key);
  if (value === undefined || value === '') return undefined;
  const [, whole, fraction = ''] = /^(-?[0-9]{1,16})(?:\.([0-9]*))?$/.exec(value) ?? [];
  if (whole === undefined) throw malformed(`${where()} gives an impossible ${key}`);
  // A floating point number would round 1600000000.999999999 up.
  const number = Number(whole) - (whole.startsWith('-') && /[1-9]/.test(fraction) ? 1 : 0);
  if (!Number.isSafeInteger(number)) throw malformed(`${where()} gives an impossible ${key}`);
  return number;
}

/** Extended attributes by name; undefined if there are none. */
export function paxXattrs(records: PaxRecords): Record<string, string> | undefined {
  let xattrs: Record<string, string> | undefined;
  for (const [key, value] of records) {
    // An empty value takes back what a global header said, so Go drops extended attributes that are empty.
    if (value === '' || !key.startsWith(XATTR)) continue;
    xattrs ??= Object.create(null) as Record<string, string>;
    xattrs[key.slice(XATTR.length)] = value;
  }
  return xattrs;
}
