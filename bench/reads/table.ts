/** What was measured, as a table: a row for each question, a column for each contestant. */
import CliTable from 'cli-table3';

export class Table {
  readonly #rows = new Map<string, Map<string, { readonly unit: string; readonly values: number[] }>>();

  /** One measurement, in `unit`. */
  add(row: string, contestant: string, value: number, unit: string): void {
    const columns = this.#rows.get(row) ?? new Map();
    this.#rows.set(row, columns);
    const cell = columns.get(contestant) ?? { unit, values: [] };
    columns.set(contestant, cell);
    cell.values.push(value);
  }

  toString(): string {
    const names = [...new Set([...this.#rows.values()].flatMap((columns) => [...columns.keys()]))];
    const table = new CliTable({ head: ['', ...names], style: { head: [], border: [] } });
    for (const [row, columns] of this.#rows)
      table.push([row, ...names.map((name) => cellOf(columns.get(name)))]);
    return table.toString();
  }
}

/** `median (min to max) unit` */
function cellOf(cell: { readonly unit: string; readonly values: readonly number[] } | undefined): string {
  if (cell === undefined) return '';
  const sorted = [...cell.values].sort((a, b) => a - b);
  const digits = cell.unit === 's' ? 2 : 0;
  const [median, min, max] = [sorted[Math.floor(sorted.length / 2)], sorted[0], sorted.at(-1)].map((value) =>
    value?.toFixed(digits),
  );
  return `${median} (${min} to ${max}) ${cell.unit}`;
}
