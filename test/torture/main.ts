/**
 * `npm run torture -- --minutes N [--seed S] [--json FILE] [--round SECONDS] [--flavour KIND]`: mounts of registries that are hit by everything a
 * cluster has to offer, and the promises of docs/SEMANTICS.md checked all the time. Exits with 1 where one of them was broken; what
 * is needed to understand it is printed, and the logs of the mounts are kept.
 */
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Arena } from './arena.ts';
import { Random } from './random.ts';
import { type Flavour, runRound } from './round.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    json: { type: 'string' },
    /** Seconds in which things happen, in each round. */
    round: { type: 'string', default: '25' },
    /** All rounds of one kind: kills, faults, wrong bytes, small disk. */
    flavour: { type: 'string' },
  },
});

const end = Date.now() + Number(values.minutes) * 60_000;
const seconds = Number(values.round);
if (!(end > 0 && seconds > 0)) {
  console.error('--minutes and --round take a number');
  process.exit(2);
}

console.error(`seed ${values.seed}`);
const arena = await Arena.open(values.seed, new Random(values.seed, 'first contents'));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void giveUp());
try {
  do {
    arena.round += 1;
    await runRound(arena, seconds, values.flavour as Flavour | undefined);
    await countRequests();
    console.error(arena.counters.line());
  } while (Date.now() < end);
} catch (error) {
  arena.violation('the harness failed', String((error as Error).stack));
} finally {
  if (arena.counters.violations.length > 0) console.error(`logs: ${keepLogs()}`);
  await arena.close();
  arena.rig.remove();
}

console.log(arena.counters.line());
if (values.json !== undefined)
  writeFileSync(
    values.json,
    `${JSON.stringify({ seed: values.seed, ...arena.counters.toJSON() }, null, 2)}\n`,
  );
process.exit(arena.counters.violations.length > 0 ? 1 : 0);

/** Told to stop: nothing of the run stays. */
async function giveUp(): Promise<never> {
  arena.isGivenUp = true;
  arena.rig.end();
  await arena.close();
  // What was about to be started when the run was given up.
  arena.rig.end();
  arena.rig.remove();
  process.exit(130);
}

async function countRequests(): Promise<void> {
  const all = await Promise.all(arena.proxies.map((proxy) => proxy.count()));
  arena.counters.requests = 0;
  for (const kind of Object.keys(arena.counters.faults))
    delete arena.counters.faults[kind as keyof typeof arena.counters.faults];
  for (const { requests, faults, leaked } of all) {
    arena.counters.requests += requests;
    for (const [kind, count] of Object.entries(faults)) {
      const key = kind as keyof typeof faults;
      arena.counters.faults[key] = (arena.counters.faults[key] ?? 0) + count;
    }
    if (leaked > 0)
      arena.violation('credentials went elsewhere', `${leaked} requests at the target of a redirect`);
  }
}

/** A copy of the mounts' logs that stays. */
function keepLogs(): string {
  const kept = mkdtempSync(join(tmpdir(), 'sregistry-torture-logs-'));
  mkdirSync(arena.rig.logs, { recursive: true });
  cpSync(arena.rig.logs, kept, { recursive: true });
  return kept;
}
