/** The query language of files.list ("Search query terms and operators", Google Drive API): a recursive-descent parser. */
import { invalid } from '../gcs/refusal.ts';
import type { FakeFile } from './files.ts';

type Test = (file: FakeFile) => boolean;

export interface QueryContext {
  /** The id behind an alias such as `root`; throws notFound for a folder that does not exist. */
  parent(id: string): string;
  isTrashed(file: FakeFile): boolean;
}

const TOKEN = /\s*(?:'((?:[^'\\]|\\.)*)'|([A-Za-z]+)|(!=|<=|>=|[=<>(){}]))/y;

interface Token {
  readonly kind: 'text' | 'word' | 'sign';
  readonly value: string;
}

export function parseQuery(q: string, context: QueryContext): Test {
  const tokens = tokenize(q);
  let at = 0;
  const wrong = (): never => {
    throw invalid('Invalid Value');
  };
  const peek = (value: string) => tokens[at]?.kind !== 'text' && tokens[at]?.value === value;
  const take = (kind: Token['kind'], value?: string): string => {
    const token = tokens[at++];
    if (token?.kind !== kind || (value !== undefined && token.value !== value)) return wrong();
    return token.value;
  };

  const either = (): Test => {
    let test = both();
    while (peek('or')) {
      at += 1;
      const [left, right] = [test, both()];
      test = (file) => left(file) || right(file);
    }
    return test;
  };
  const both = (): Test => {
    let test = single();
    while (peek('and')) {
      at += 1;
      const [left, right] = [test, single()];
      test = (file) => left(file) && right(file);
    }
    return test;
  };
  const single = (): Test => {
    if (peek('not')) {
      at += 1;
      const test = single();
      return (file) => !test(file);
    }
    if (peek('(')) {
      at += 1;
      const test = either();
      take('sign', ')');
      return test;
    }
    return tokens[at]?.kind === 'text' ? member(take('text')) : term(take('word'));
  };

  /** `'value' in collection` */
  const member = (value: string): Test => {
    take('word', 'in');
    const collection = take('word');
    if (collection === 'parents') {
      const parent = context.parent(value);
      return ({ parents }) => parents.includes(parent);
    }
    if (collection === 'owners') return ({ owner, driveId }) => driveId === undefined && owner === value;
    return wrong();
  };

  const term = (name: string): Test => {
    if (name === 'properties') return hasProperty();
    if (name === 'sharedWithMe') return ({ owner }) => owner !== 'me';
    if (name === 'trashed') {
      take('sign', '=');
      const wanted = take('word') === 'true';
      return (file) => context.isTrashed(file) === wanted;
    }
    if (name !== 'name' && name !== 'mimeType') return wrong();
    const operator = tokens[at++]?.value;
    const value = take('text');
    // Both operators fold the case; `contains` matches beginnings of names.
    const of = (file: FakeFile) => file[name].toLowerCase();
    if (operator === '=') return (file) => of(file) === value.toLowerCase();
    if (operator === '!=') return (file) => of(file) !== value.toLowerCase();
    if (operator === 'contains') return (file) => of(file).startsWith(value.toLowerCase());
    return wrong();
  };

  const hasProperty = (): Test => {
    take('word', 'has');
    take('sign', '{');
    take('word', 'key');
    take('sign', '=');
    const key = take('text');
    take('word', 'and');
    take('word', 'value');
    take('sign', '=');
    const value = take('text');
    take('sign', '}');
    return ({ properties }) => Object.hasOwn(properties, key) && properties[key] === value;
  };

  if (tokens.length === 0) return () => true;
  const test = either();
  return at === tokens.length ? test : wrong();
}

function tokenize(q: string): Token[] {
  const tokens: Token[] = [];
  const text = q.trimEnd();
  TOKEN.lastIndex = 0;
  for (let end = 0; end < text.length; end = TOKEN.lastIndex) {
    TOKEN.lastIndex = end;
    const match = TOKEN.exec(text);
    if (match === null) throw invalid('Invalid Value');
    const [, quoted, word, sign = ''] = match;
    if (quoted !== undefined) tokens.push({ kind: 'text', value: quoted.replace(/\\(.)/gs, '$1') });
    else tokens.push(word === undefined ? { kind: 'sign', value: sign } : { kind: 'word', value: word });
  }
  return tokens;
}
