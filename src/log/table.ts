import CliTable from 'cli-table3';

export type Cell = string | number | boolean | null | undefined;

export interface TableOptions {
  /** Titles of the columns. */
  readonly header?: readonly string[] | undefined;
  /** Begins each row with its number, from 1, as the Python client does. Default: true. */
  readonly numbered?: boolean | undefined;
}

/** A table for programs: one line per row, cells separated by tabs. A numbered row begins with `1  `, as in the Python client. */
export function tabbedTable(rows: readonly (readonly Cell[])[], options: TableOptions = {}): string {
  const { header, numbered = true } = options;
  const lines = rows.map((row, index) => {
    const cells = row.map(cellText).join('\t');
    return numbered ? `${String(index + 1).padEnd(2)} ${cells}` : cells;
  });
  if (header !== undefined) lines.unshift(header.map(cellText).join('\t'));
  return lines.join('\n');
}

/** A table for people: columns aligned with spaces, by the width of the characters on a terminal. */
export function alignedTable(rows: readonly (readonly Cell[])[], options: TableOptions = {}): string {
  const { header, numbered = true } = options;
  const table = new CliTable({
    chars: NO_BORDERS,
    style: { head: [], border: [], compact: true, ...PADDING },
  });
  const number = (label: string) => (numbered ? [label] : []);
  if (header !== undefined) table.push([...number(''), ...header.map(cellText)]);
  rows.forEach((row, index) => {
    table.push([...number(String(index + 1)), ...row.map(cellText)]);
  });
  return table.toString().replace(/ +$/gm, '');
}

const PADDING = { 'padding-left': 0, 'padding-right': 2 };

const NO_BORDERS = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid']
    .flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`])
    .concat('middle', 'left-mid', 'right-mid')
    .map((name) => [name, '']),
);

/** The text of a cell. A line feed or tab in it would break the table, so it becomes a space. */
const cellText = (cell: Cell) => String(cell ?? '').replace(/[\r\n\t]+/g, ' ');
