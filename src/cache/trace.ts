/**
 * Start-up traces. A container touches few bytes of its image until its first command runs, and nearly the same ones each time. A
 * trace is the ranges of one image that were touched, in order of their first use. It is a hint: a wrong one costs bytes, never a
 * wrong answer.
 *
 * Traces come from the catalog, which others may have written, so reading one takes nothing for granted: only ranges inside the
 * image, at most {@link MAX_RANGES}, of at most {@link MAX_BYTES} together.
 */
import { BLOCK_SIZE, type BlockRange } from './block-map.ts';

/** Milliseconds after its first read in which an image is taken to be starting. */
export const START_TIME = 10_000;
/** Bytes that a trace covers at most: what a link of 200 Mbit/s brings in 1.3 seconds. */
export const MAX_BYTES = 32 * 1024 * 1024;
export const MAX_RANGES = 1_024;
/** Bytes of a trace as text: so many ranges of the longest numbers. */
const MAX_TEXT = MAX_RANGES * 32;
/** Blocks of one request at most: a reader waits for its bytes only, but those behind them come later. */
const REQUEST_BLOCKS = 16;
/** Blocks between two ranges that are fetched with them: they cost less time than another request. */
const GAP_BLOCKS = 1;
/** Mean bytes of a range from which on a full trace is that of a copy, which needs no trace. */
const COPY_RANGE = 4 * 1024 * 1024;

const MAX_BLOCKS = MAX_BYTES / BLOCK_SIZE;

/** Blocks of an image in order of their first use. A `Set` keeps the order. */
export type Trace = ReadonlySet<number>;

/** The trace that {@link formatTrace} wrote for an image of so many bytes; empty if the text is no such trace. */
export function parseTrace(text: string, size: number): Trace {
  const blocks = new Set<number>();
  for (const { first, last } of parseRanges(text)) {
    if (last >= Math.ceil(size / BLOCK_SIZE)) continue;
    for (let block = first; block <= last && blocks.size < MAX_BLOCKS; block += 1) blocks.add(block);
  }
  return blocks;
}

/** `[[offset, length], ...]` in bytes, as JSON. The last block of an image counts as a whole one. */
export function formatTrace(trace: Trace): string {
  const ranges = runsOf(trace, 0, Number.POSITIVE_INFINITY).slice(0, MAX_RANGES);
  return JSON.stringify(
    ranges.map(({ first, last }) => [first * BLOCK_SIZE, (last - first + 1) * BLOCK_SIZE]),
  );
}

/**
 * What an image is known to need after one more start: what was known in its order, then what is new. If that is too much, what
 * this start did not touch goes first.
 */
export function mergeTraces(known: Trace, touched: Trace): Trace {
  const all = [...new Set([...known, ...touched])];
  let excess = all.length - MAX_BLOCKS;
  const kept = all.filter((block) => touched.has(block) || excess-- <= 0);
  return new Set(kept.slice(0, MAX_BLOCKS));
}

/** Was the image read through, and not started? */
export function isCopy(touched: Trace): boolean {
  const runs = runsOf(touched, 0, Number.POSITIVE_INFINITY);
  return touched.size >= MAX_BLOCKS && touched.size * BLOCK_SIZE > runs.length * COPY_RANGE;
}

/** What to ask for, one request each, in order of use. Takes what lies close to an earlier range together with it. */
export function requestsOf(trace: Trace): BlockRange[] {
  return runsOf(trace, GAP_BLOCKS, REQUEST_BLOCKS);
}

/** Joins blocks to ranges of at most `longest` blocks, with at most `gap` blocks of no use between two. */
function runsOf(trace: Trace, gap: number, longest: number): BlockRange[] {
  const runs: { first: number; last: number }[] = [];
  for (const block of trace) {
    const near = runs.find(({ first, last }) => {
      const [begin, end] = [Math.min(first, block), Math.max(last, block)];
      return block >= first - 1 - gap && block <= last + 1 + gap && end - begin < longest;
    });
    if (near === undefined) runs.push({ first: block, last: block });
    else Object.assign(near, { first: Math.min(near.first, block), last: Math.max(near.last, block) });
  }
  return runs;
}

/** The ranges of a text, without those that no image can have. */
function parseRanges(text: string): BlockRange[] {
  if (text.length > MAX_TEXT) return [];
  let ranges: unknown;
  try {
    ranges = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(ranges)) return [];
  return ranges.slice(0, MAX_RANGES).flatMap((range: unknown) => {
    if (!Array.isArray(range)) return [];
    const [offset, length] = range as unknown[];
    const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
    if (!isRange || (offset as number) < 0 || (length as number) <= 0) return [];
    const end = (offset as number) + (length as number);
    if (!Number.isSafeInteger(end)) return [];
    return [{ first: Math.floor((offset as number) / BLOCK_SIZE), last: Math.ceil(end / BLOCK_SIZE) - 1 }];
  });
}
