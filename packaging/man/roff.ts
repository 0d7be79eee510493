/**
 * Writes a page in roff with the macros of man(7). Text is escaped as groff_char(7) and groff(7) ask, so that it is shown as it was
 * given: no line of it becomes a request, and what is copied from the page is ASCII again.
 */

/** Bytes of a line of input at most, which is what mandoc asks for. */
const WIDTH = 79;

/** Text, or text in bold (what is typed as it stands) or italics (what is replaced by something). */
export type Piece = string | { readonly font: 'B' | 'I'; readonly text: string };

export const bold = (text: string): Piece => ({ font: 'B', text });
export const italic = (text: string): Piece => ({ font: 'I', text });

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\(rs',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
  '"': '\\(dq',
};

/** What roff shows as `text`, in one line. */
export function escapeRoff(text: string): string {
  return text.replace(/\s/g, ' ').replace(/[\\\-'`^~"]|[^\x20-\x7e]/gu, (character) => {
    const point = character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0');
    return ESCAPES[character] ?? `\\[u${point}]`;
  });
}

/** A line that begins with a dot would be a request. */
const asText = (line: string) => (line.startsWith('.') ? `\\&${line}` : line);

const render = (pieces: readonly Piece[]) =>
  pieces
    .map((piece) =>
      typeof piece === 'string' ? escapeRoff(piece) : `\\f${piece.font}${escapeRoff(piece.text)}\\fR`,
    )
    .join('');

function wrapped(pieces: readonly Piece[]): string[] {
  const lines: string[] = [];
  for (const word of render(pieces).split(' ').filter(Boolean)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= WIDTH) lines[lines.length - 1] += ` ${word}`;
    else lines.push(asText(word));
  }
  return lines;
}

/** A line as it stands. If it is too long, its input goes on in the next line, which the backslash at the end hides. */
function verbatim(line: string): string[] {
  const words = escapeRoff(line).split(/(?<= )/);
  const lines = [''];
  for (const word of words) {
    const last = lines.at(-1) as string;
    if (last.length + word.length < WIDTH) lines[lines.length - 1] = last + word;
    else lines.push(word);
  }
  return lines.map(
    (part, index) => (index === 0 ? asText(part) : part) + (index < lines.length - 1 ? '\\' : ''),
  );
}

export interface PageHeader {
  /** Its name: `sregistry-mount`. */
  readonly name: string;
  /** Its section of the manual: 1 for commands, 8 for the administrator's. */
  readonly section: 1 | 8;
  readonly date: Date;
  /** What it belongs to: `sregistry 0.1.0`. */
  readonly source: string;
}

export class Page {
  readonly #lines: string[];
  /** Whether a paragraph needs no macro to begin, as it follows a heading. */
  #begins = true;

  constructor({ name, section, date, source }: PageHeader) {
    const day = date.toISOString().slice(0, 10);
    const title = escapeRoff(name.toUpperCase());
    // Neither hyphens nor wide spaces in paths and names.
    this.#lines = [`.TH "${title}" ${section} "${day}" "${escapeRoff(source)}"`, '.nh', '.ad l'];
  }

  section(title: string): this {
    return this.#heading('SH', title.toUpperCase());
  }

  subsection(title: string): this {
    return this.#heading('SS', title);
  }

  paragraph(...pieces: Piece[]): this {
    if (!this.#begins) this.#lines.push('.PP');
    this.#lines.push(...wrapped(pieces));
    this.#begins = false;
    return this;
  }

  /** Goes on in a new line, without the space between paragraphs. */
  line(...pieces: Piece[]): this {
    if (!this.#begins) this.#lines.push('.br');
    this.#lines.push(...wrapped(pieces));
    this.#begins = false;
    return this;
  }

  /** A term, and behind it or below it what it is. */
  item(term: readonly Piece[], ...what: Piece[]): this {
    this.#lines.push('.TP', asText(render(term)), ...wrapped(what));
    this.#begins = false;
    return this;
  }

  /** A line to type, indented. */
  example(line: string): this {
    this.#lines.push('.RS 4', '.nf', ...verbatim(line), '.fi', '.RE');
    this.#begins = false;
    return this;
  }

  /** The page's text. */
  toString(): string {
    return `${this.#lines.join('\n')}\n`;
  }

  #heading(macro: 'SH' | 'SS', title: string): this {
    this.#lines.push(`.${macro} ${escapeRoff(title)}`);
    this.#begins = true;
    return this;
  }
}
