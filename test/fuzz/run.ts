/** What fuzzers share: random numbers from a seed, the loop that holds each input to the promise, and the command line. */
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SregistryError } from '../../src/base/errors.ts';

/** Milliseconds of processor time one input may take: a thousand times what it usually does. */
const SLOW = 2000;

/** A whole number from 0 to `below` - 1. */
export type Random = (below: number) => number;

/** Mulberry32: small, fast, and the same everywhere. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export interface FuzzResult {
  readonly inputs: number;
  /** How many gave an answer; the others gave an error. */
  readonly answers: number;
  /** Milliseconds of processor time of the slowest. */
  readonly slowest: number;
}

/**
 * Runs `one` for `inputs` seeds from `seed` on, or until `deadline` (milliseconds since the epoch).
 * @param one makes an input and reads it: it ends soon, with an answer or a SregistryError.
 * @throws {Error} naming the seed of the input that broke the promise.
 */
export async function fuzzWith(
  one: (pick: Random) => Promise<unknown>,
  seed: number,
  inputs: number,
  deadline = Number.POSITIVE_INFINITY,
): Promise<FuzzResult> {
  let [done, answers, slowest] = [0, 0, 0];
  for (; done < inputs && Date.now() < deadline; done++) {
    const pick = random(seed + done);
    const started = process.cpuUsage();
    try {
      await one(pick);
      answers++;
    } catch (cause) {
      if (!(cause instanceof SregistryError) || cause.message === '' || cause.code === 'INTERNAL')
        throw new Error(`The input of seed ${seed + done} gave an unexpected error`, { cause });
    }
    const { user, system } = process.cpuUsage(started);
    const took = (user + system) / 1000;
    if (took > SLOW) throw new Error(`The input of seed ${seed + done} took ${Math.round(took)} ms`);
    slowest = Math.max(slowest, took);
    // Sources in memory never let the event loop turn, and what is closed on its next turn would pile up.
    if (done % 100 === 0) await setImmediate();
  }
  return { inputs: done, answers, slowest };
}

/** The command line `--minutes N --seed S --inputs N` of a fuzzer. Prints what was done. */
export async function fuzzByHand(
  fuzz: (seed: number, inputs: number, deadline: number) => Promise<FuzzResult>,
): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      inputs: { type: 'string', default: 'Infinity' },
      minutes: { type: 'string', default: '1' },
    },
  });
  // Seeds a billion apart, so that two processes do not read the same inputs.
  const seed = Number(values.seed) < 1000 ? Number(values.seed) * 1e9 : Number(values.seed);
  const result = await fuzz(seed, Number(values.inputs), Date.now() + Number(values.minutes) * 60_000);
  const { maxRSS } = process.resourceUsage();
  console.log({ ...result, slowest: Math.round(result.slowest), peakMiB: Math.round(maxRSS / 1024) });
}
