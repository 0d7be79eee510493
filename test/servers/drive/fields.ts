/** Partial responses ("Return specific fields", Google Drive API): `nextPageToken,files(id,capabilities/canEdit)`. */
import { invalid } from '../gcs/refusal.ts';

/** What is wanted of an object, by the names of its fields; undefined for all of it. */
type Mask = Map<string, Mask | undefined>;

export function pick(value: Record<string, unknown>, given: string): unknown {
  const fields = given.replace(/\s/g, '');
  const { mask, end } = parseMask(fields, 0);
  if (end !== fields.length) throw unknownField(fields);
  return select(value, mask, fields);
}

function parseMask(text: string, start: number): { mask: Mask; end: number } {
  const mask: Mask = new Map();
  let at = start;
  for (;;) {
    const name = /^[A-Za-z0-9*]+/.exec(text.slice(at))?.[0];
    if (name === undefined) throw unknownField(text);
    at += name.length;
    let inner: Mask | undefined;
    if (text[at] === '/') {
      const rest = parseMask(text.slice(0, endOfItem(text, at + 1)), at + 1);
      [inner, at] = [rest.mask, rest.end];
    } else if (text[at] === '(') {
      const rest = parseMask(text, at + 1);
      if (text[rest.end] !== ')') throw unknownField(text);
      [inner, at] = [rest.mask, rest.end + 1];
    }
    const before = mask.get(name);
    mask.set(name, before && inner ? new Map([...before, ...inner]) : inner);
    if (text[at] !== ',') return { mask, end: at };
    at += 1;
  }
}

function endOfItem(text: string, start: number): number {
  const end = text.slice(start).search(/[,)]/);
  return end < 0 ? text.length : start + end;
}

/** Every field that a resource may have is in `value`, so that another one is a mistake of the client. */
function select(value: unknown, mask: Mask, fields: string): unknown {
  if (Array.isArray(value)) return value.map((one) => select(one, mask, fields));
  if (typeof value !== 'object' || value === null) return value;
  if (mask.has('*')) return value;
  const object = value as Record<string, unknown>;
  const entries = [...mask].map(([name, inner]) => {
    if (!(name in object)) throw unknownField(name);
    return [name, inner === undefined ? object[name] : select(object[name], inner, fields)] as const;
  });
  return Object.fromEntries(entries.filter(([, one]) => one !== undefined));
}

const unknownField = (fields: string) => invalid(`Invalid field selection ${fields}`);
