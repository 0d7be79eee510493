/**
 * Benchmarks: variants of one task, run in turns, so that what else the machine does falls on all of them alike. What counts is the
 * ratio between variants, not seconds: those are the machine's.
 */
import { styleText } from 'node:util';
import { alignedTable } from '../src/log/table.ts';

export interface Variant {
  readonly name: string;
  /** Why it cannot run here. */
  readonly missing?: string | undefined;
  /** Before each run, untimed. */
  prepare?(): Promise<void>;
  /** Returns what was measured, in the task's unit. Without a number it is the time that the run took. */
  run(): Promise<unknown>;
}

/** `of` takes at most `limit` times what `against` takes. */
export interface Goal {
  readonly of: string;
  readonly against: string;
  readonly limit?: number | undefined;
}

/** What variants are compared by. */
export interface Task {
  readonly title: string;
  /** Default: seconds. */
  readonly unit?: string | undefined;
  readonly variants: readonly Variant[];
  readonly goals?: readonly Goal[] | undefined;
}

/** Its tasks share what it has started; disposing of it ends that. */
export interface Benchmark extends AsyncDisposable {
  readonly tasks: readonly Task[];
}

/** The measured values of each variant, in the order of the runs. */
export type Measured = ReadonlyMap<string, readonly number[]>;

export interface Result {
  readonly task: Task;
  readonly measured: Measured;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Each variant `runs` times: all of them once, then all of them again. */
export async function measure(task: Task, runs: number, tell: (text: string) => void): Promise<Result> {
  const measured = new Map<string, number[]>();
  for (let turn = 1; turn <= runs; turn++) {
    for (const variant of task.variants) {
      if (variant.missing !== undefined) continue;
      await variant.prepare?.();
      const began = performance.now();
      const answer = await variant.run();
      const value = typeof answer === 'number' ? answer : (performance.now() - began) / 1000;
      measured.set(variant.name, [...(measured.get(variant.name) ?? []), value]);
      tell(`${task.title}: ${variant.name}, run ${turn} of ${runs}: ${number(value)} ${unitOf(task)}`);
    }
  }
  return { task, measured };
}

/** A table of the variants, a line for each goal, and what did not run. */
export function report({ task, measured }: Result): string {
  const rows: string[][] = [];
  const lines: string[] = [];
  for (const { name, missing } of task.variants) {
    const values = measured.get(name);
    if (values === undefined) lines.push(`not measured: ${name}: ${missing ?? 'it did not run'}`);
    else rows.push([name, ...[median(values), Math.min(...values), Math.max(...values)].map(number)]);
  }
  for (const { of, against, limit } of task.goals ?? []) {
    const ratio = ratioOf(measured, of, against);
    if (ratio === undefined) continue;
    const wanted = limit === undefined ? '' : ` (${ratio <= limit ? 'reaches' : 'misses'} ${number(limit)})`;
    lines.push(`${of} / ${against}: ${number(ratio)}${wanted}`);
  }
  const header = ['', `median, ${unitOf(task)}`, 'min', 'max'];
  const table = alignedTable(rows, { header, numbered: false });
  return [styleText('bold', task.title), table, ...lines, ''].join('\n');
}

/** The ratio of medians; undefined if one of them was not measured. */
function ratioOf(measured: Measured, of: string, against: string): number | undefined {
  const [a, b] = [measured.get(of), measured.get(against)];
  return a === undefined || b === undefined ? undefined : median(a) / median(b);
}

function unitOf({ unit = 's' }: Task): string {
  return unit;
}

/** Three digits that count. */
function number(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}
