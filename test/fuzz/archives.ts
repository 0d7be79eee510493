/**
 * Random tar archives: entries in every form that writers of archives use, valid by what the format says. Names come from few
 * letters, so that entries meet each other. Names, targets and values are byte strings, as in src/image/layers.
 */
import type { Random } from './run.ts';

export const BLOCK = 512;
export const END = Buffer.alloc(2 * BLOCK);

const NAMES = ['a', 'b', 'c', 'd', 'ab', '\xc3\xa9', '\xff', `n${'n'.repeat(119)}`, 'bin', 'etc'];
const SPECIAL = ['.wh.a', '.wh.b', '.wh.c', '.wh.bin', '.wh..wh..opq'];
const TYPES = ['0', '0', '0', '0', '5', '5', '2', '1', '3', '4', '6', '\0'];

export interface RandomEntry {
  readonly path: string;
  readonly type: string;
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified: number;
  readonly data: Buffer;
  readonly xattrs: Readonly<Record<string, string>>;
}

type Form = 'v7' | 'ustar' | 'gnu' | 'pax';

/** A layer: some entries, each as a form that can hold it. `known` gets the paths, for hard links of this layer and later ones. */
export function randomEntries(pick: Random, known: string[]): RandomEntry[] {
  return Array.from({ length: pick(12) }, () => {
    const entry = randomEntry(pick, known);
    known.push(entry.path);
    return entry;
  });
}

const oneOf = <T>(pick: Random, values: readonly T[]): T => values[pick(values.length)] as T;

function randomPath(pick: Random, mayRemove: boolean): string {
  const parts = Array.from({ length: 1 + pick(3) }, () => oneOf(pick, NAMES));
  if (mayRemove && pick(5) === 0) parts[parts.length - 1] = oneOf(pick, SPECIAL);
  return oneOf(pick, ['', '', '', './', '/', 'a/../', './/']) + parts.join('/');
}

function randomEntry(pick: Random, known: readonly string[]): RandomEntry {
  const type = oneOf(pick, TYPES);
  const path = randomPath(pick, true) + (type === '5' && pick(2) === 0 ? '/' : '');
  const isWhiteout = path.includes('.wh.');
  const hasData = (type === '0' || type === '\0' || type === '7') && !isWhiteout;
  const target =
    type === '1'
      ? known.length > 0 && pick(4) > 0
        ? oneOf(pick, known)
        : randomPath(pick, false)
      : type === '2'
        ? oneOf(pick, ['', '/', '../', '../../', './']) + randomPath(pick, false)
        : '';
  return {
    path,
    type: isWhiteout ? '0' : type,
    target: isWhiteout ? '' : target,
    mode: oneOf(pick, [0o644, 0o755, 0o4755, 0o2755, 0o1777, 0, 0o7777]),
    uid: oneOf(pick, [0, 0, 1000, 65_534, 3_000_000, 0xfffffffe]),
    gid: oneOf(pick, [0, 0, 1001, 5]),
    modified: oneOf(pick, [0, 1, 1_600_000_000, 1_600_000_001, 2 ** 31, 2 ** 32 - 1]),
    data: hasData ? randomData(pick) : Buffer.alloc(0),
    // No others have attributes of users, as the kernel sees it.
    xattrs:
      '05'.includes(type) && pick(6) === 0 ? { 'user.a': `v${pick(9)}`, 'user.\xc3\xa9': '\x00\xff\n=' } : {},
  };
}

function randomData(pick: Random): Buffer {
  const size = oneOf(pick, [0, 1, 511, 512, 513, 5000, 140_000]);
  return Buffer.alloc(size, `data ${pick(1000)} `);
}

/** The bytes of entries, with an end or without. */
export function archiveOf(entries: readonly RandomEntry[], pick: Random): Buffer {
  const parts = entries.flatMap((entry) => encode(entry, pick));
  const last = oneOf(pick, [END, END, END, Buffer.alloc(0), Buffer.alloc(BLOCK), Buffer.alloc(20 * BLOCK)]);
  return Buffer.concat([...parts, last]);
}

function encode(entry: RandomEntry, pick: Random): Buffer[] {
  const forms = FORMS.filter((form) => canHold(form, entry));
  const form = oneOf(pick, forms.length > 0 ? forms : (['pax'] as const));
  const before: Buffer[] = [];
  const records: [string, string][] = [];
  const isLong = entry.path.length > 100;
  if (form === 'gnu' && (isLong || pick(8) === 0))
    before.push(special('L', Buffer.from(`${entry.path}\0`, 'latin1')));
  if (form === 'gnu' && entry.target.length > 100)
    before.push(special('K', Buffer.from(`${entry.target}\0`, 'latin1')));
  if (form === 'pax') {
    records.push(
      ['path', entry.path],
      ['mtime', `${entry.modified}${oneOf(pick, ['', '.25', '.999999999'])}`],
    );
    if (entry.target !== '') records.push(['linkpath', entry.target]);
    if (entry.uid > 0o7777777 || pick(2) === 0) records.push(['uid', String(entry.uid)]);
    if (entry.data.length > 0 && pick(3) === 0) records.push(['size', String(entry.data.length)]);
    for (const [name, value] of Object.entries(entry.xattrs)) records.push([`SCHILY.xattr.${name}`, value]);
    before.push(special('x', paxRecords(records)));
  }
  return [...before, header(entry, form, pick), entry.data, padding(entry.data.length)];
}

const FORMS: readonly Form[] = ['v7', 'ustar', 'gnu', 'pax'];

function canHold(form: Form, { path, target, uid, xattrs, type, modified }: RandomEntry): boolean {
  if (form === 'pax') return true;
  if (Object.keys(xattrs).length > 0) return false;
  if (form === 'gnu') return true;
  if (form === 'v7' && !'012\0'.includes(type)) return false;
  // What a name without a type ends with tells a directory.
  return path.length <= 100 && target.length <= 100 && uid <= 0o7777777 && modified < 2 ** 33;
}

/** A header with a right checksum. */
export function header(
  entry: Pick<RandomEntry, 'path' | 'type' | 'target' | 'mode' | 'uid' | 'gid' | 'modified' | 'data'>,
  form: Form,
  pick: Random,
): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(entry.path.slice(0, 100), 0, 'latin1');
  const number = (value: number, at: number, length: number) => {
    if (form === 'gnu' && (value >= 8 ** (length - 1) || pick(6) === 0)) {
      block.writeUIntBE(value, at + length - 6, 6);
      block[at] = 0x80;
    } else {
      const digits = (value % 8 ** (length - 1))
        .toString(8)
        .padStart(length - 1, oneOf(pick, ['0', '0', ' ']));
      block.write(`${digits}${oneOf(pick, ['\0', ' '])}`, at, 'latin1');
    }
  };
  number(entry.mode, 100, 8);
  number(entry.uid, 108, 8);
  number(entry.gid, 116, 8);
  number(entry.data.length, 124, 12);
  number(entry.modified, 136, 12);
  block.write(entry.type, 156, 'latin1');
  block.write(entry.target.slice(0, 100), 157, 'latin1');
  if (form === 'ustar' || form === 'pax') block.write('ustar\x0000', 257, 'latin1');
  if (form === 'gnu') block.write('ustar  \0', 257, 'latin1');
  if (form !== 'v7') {
    number('34'.includes(entry.type) ? 1 : 0, 329, 8);
    number('34'.includes(entry.type) ? 3 : 0, 337, 8);
  }
  return sealed(block);
}

/** Sets the checksum of a header. */
export function sealed(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** An entry that is about the next one: `L`, `K`, `x` or `g`. */
export function special(type: string, data: Buffer): Buffer {
  const none = { target: '', mode: 0o644, uid: 0, gid: 0, modified: 0 };
  const form = type === 'L' || type === 'K' ? 'gnu' : 'ustar';
  const head = header({ ...none, path: '././@LongLink', type, data }, form, () => 1);
  return Buffer.concat([head, data, padding(data.length)]);
}

export function paxRecords(records: readonly (readonly [key: string, value: string])[]): Buffer {
  return Buffer.concat(
    records.map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (String(length).length + rest.length !== length) length += 1;
      return Buffer.from(`${length}${rest}`, 'latin1');
    }),
  );
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}
