/**
 * Does docs/SEMANTICS.md hold? Each of its sentences in bold is a promise, held by a test of that name in test/fs or test/e2e
 * which ran in this run and passed. Whether that is so is known when the whole run has ended; of a part of the tests nothing
 * can be said.
 */
import { globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** What became of a test. */
export type Outcome = 'passed' | 'failed' | 'skipped' | 'todo';

export interface TestOutcome {
  readonly name: string;
  readonly outcome: Outcome;
}

export interface Unheld {
  readonly sentence: string;
  /** `missing`: no test has that name. */
  readonly why: Exclude<Outcome, 'passed'> | 'missing';
}

const ROOT = join(import.meta.dirname, '../..');
/** Where the tests are that hold promises. */
const HOLDERS = 'test/{fs,e2e}/**/*.test.ts';

export const semanticsPage = () => readFileSync(join(ROOT, 'docs/SEMANTICS.md'), 'utf8');

/** The sentences in bold of a page, as one line each. */
export function promisesOf(page: string): string[] {
  return [...page.matchAll(/\*\*([^*]+)\*\*/g)].map(([, sentence = '']) =>
    sentence.replace(/\s+/g, ' ').trim(),
  );
}

/**
 * The promises that no test holds, in their order. A test's name begins with the words of its promise. Of several by one
 * name none may have failed, and one must have passed.
 */
export function unheldPromises(promises: readonly string[], tests: readonly TestOutcome[]): Unheld[] {
  const named = tests.map(({ name, outcome }) => ({ words: words(name), outcome }));
  return promises.flatMap((sentence) => {
    const wanted = words(sentence);
    const outcomes = named.filter((test) => test.words.startsWith(wanted)).map(({ outcome }) => outcome);
    const why = whyUnheld(new Set(outcomes));
    return why === undefined ? [] : [{ sentence, why }];
  });
}

function whyUnheld(outcomes: ReadonlySet<Outcome>): Unheld['why'] | undefined {
  if (outcomes.has('failed')) return 'failed';
  if (outcomes.has('passed')) return undefined;
  if (outcomes.has('skipped')) return 'skipped';
  return outcomes.has('todo') ? 'todo' : 'missing';
}

/** Whitespace, quotes and emphasis differ between prose and test names; the words must not. */
function words(text: string): string {
  return text
    .replace(/[`'"‘’“”\\]/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Is it the fault of the machine alone? What a test needs may be missing outside CI (skip.ts), never there. */
export function isExcused({ why }: Unheld, isCi: boolean): boolean {
  return why === 'skipped' && !isCi;
}

/** Do these files, by absolute path, include every one whose tests hold promises? */
export function includesHolders(files: readonly string[], root: string = ROOT): boolean {
  const ran = new Set(files.map((file) => relative(root, file)));
  return globSync(HOLDERS, { cwd: root }).every((file) => ran.has(file));
}

/** Is that file one whose tests hold promises? */
export function isHolder(file: string, root: string = ROOT): boolean {
  return /^test\/(fs|e2e)\//.test(relative(root, file));
}
