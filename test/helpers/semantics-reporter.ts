/**
 * A reporter of vitest that ends a whole run with the promises of docs/SEMANTICS.md that it does not hold, and with a failing
 * exit code; see semantics.ts. In CI a skipped test holds nothing either; elsewhere that is a warning. A run of some tests
 * only (files, `-t`, shards, one that was interrupted) is not judged.
 */
import type { Reporter, TestCase, Vitest } from 'vitest/node';
import {
  includesHolders,
  isExcused,
  isHolder,
  promisesOf,
  semanticsPage,
  type TestOutcome,
  type Unheld,
  unheldPromises,
} from './semantics.ts';

type Run = Parameters<NonNullable<Reporter['onTestRunEnd']>>;

export const isCi = process.env.CI === 'true';

/** What a run did not hold; undefined where it was no whole run. */
export function judge(vitest: Vitest, [modules, , reason]: Run): Unheld[] | undefined {
  const { testNamePattern, shard } = vitest.config;
  if (reason === 'interrupted' || testNamePattern !== undefined || shard !== undefined) return undefined;
  if (!includesHolders(modules.map(({ moduleId }) => moduleId))) return undefined;
  const holders = modules.filter(({ moduleId }) => isHolder(moduleId));
  const tests = holders.flatMap((module) => [...module.children.allTests()].map(outcomeOf));
  return unheldPromises(promisesOf(semanticsPage()), tests);
}

function outcomeOf(test: TestCase): TestOutcome {
  const { state } = test.result();
  if (state === 'skipped')
    return { name: test.name, outcome: test.options.mode === 'todo' ? 'todo' : 'skipped' };
  return { name: test.name, outcome: state === 'passed' ? 'passed' : 'failed' };
}

export default class SemanticsReporter implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(...run: Run): void {
    const unheld = this.#vitest && judge(this.#vitest, run);
    if (unheld === undefined || unheld.length === 0) return;
    const broken = unheld.filter((each) => !isExcused(each, isCi));
    const title = `docs/SEMANTICS.md: ${unheld.length} sentences lack a test of their name that ran and passed`;
    const lines = unheld.map(({ sentence, why }) => `  ${why.padEnd(8)} ${sentence}`);
    console.error(['', title, ...lines, ''].join('\n'));
    if (broken.length > 0) process.exitCode = 1;
  }
}
