/**
 * `npm run bench -- NAME... [--runs N] [--only TEXT] [--without TEXT] [--json FILE]`: measures and prints tables. Without a name it lists the
 * benchmarks. Each starts the servers that it needs on the loopback, and needs what `scripts/setup --test` installs.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Benchmark, measure, type Result, report, type Task, type Variant } from './harness.ts';

interface Entry {
  readonly about: string;
  load(): Promise<{ start(): Promise<Benchmark> }>;
}

const BENCHMARKS: Readonly<Record<string, Entry>> = {
  'cold-start': {
    about:
      'The first command in an image of 700 MB over a slow link, with and without the trace of an earlier start',
    load: () => import('./cold-start/benchmark.ts'),
  },
  layers: {
    about: 'Docker images: started through the mount and pulled, beside apptainer and curl',
    load: () => import('./layers/benchmark.ts'),
  },
  push: {
    about: 'A large image pushed by command and by cp into the mount, beside oras and curl',
    load: () => import('./push/benchmark.ts'),
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '3' },
    /** Measures only tasks whose title has this in it. */
    only: { type: 'string', default: '' },
    /** Leaves out variants whose name has this in it. */
    without: { type: 'string' },
    json: { type: 'string' },
  },
});

if (positionals.length === 0)
  for (const [name, { about }] of Object.entries(BENCHMARKS)) console.log(`${name}\t${about}`);

function without(task: Task, text: string | undefined): Task {
  const leave = (variant: Variant): Variant =>
    text !== undefined && variant.name.includes(text) ? { ...variant, missing: 'left out' } : variant;
  return { ...task, variants: task.variants.map(leave) };
}

const results: Result[] = [];
for (const name of positionals) {
  const entry = BENCHMARKS[name];
  if (entry === undefined) throw new Error(`There is no benchmark ${name}; \`npm run bench\` lists them`);
  const { start } = await entry.load();
  await using benchmark = await start();
  for (const task of benchmark.tasks.filter(({ title }) => title.includes(values.only))) {
    const tell = (text: string) => console.error(text);
    const result = await measure(without(task, values.without), Number(values.runs), tell);
    console.log(report(result));
    results.push(result);
  }
}
if (values.json !== undefined) {
  const plain = results.map(({ task: { title, unit = 's' }, measured }) => ({
    title,
    unit,
    measured: Object.fromEntries(measured),
  }));
  writeFileSync(values.json, `${JSON.stringify(plain, undefined, 2)}\n`);
}
