/**
 * A reporter of vitest that leaves "PASSED FAILED" in $TALLY_FILE for .ci/run. What did not pass has failed, and so has each
 * promise of docs/SEMANTICS.md that the run does not hold.
 */
import { writeFileSync } from 'node:fs';
import type { Reporter, Vitest } from 'vitest/node';
import { isExcused } from '../test/helpers/semantics.ts';
import { isCi, judge } from '../test/helpers/semantics-reporter.ts';

type Run = Parameters<NonNullable<Reporter['onTestRunEnd']>>;

export default class Tally implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(...run: Run): void {
    const [modules, unhandledErrors] = run;
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    const brokenFiles = modules.filter((module) => module.errors().length > 0).length;
    const unheld = (this.#vitest && judge(this.#vitest, run)) ?? [];
    const brokenPromises = unheld.filter((each) => !isExcused(each, isCi)).length;
    const failed = tests.length - passed + brokenFiles + unhandledErrors.length + brokenPromises;
    if (process.env.TALLY_FILE) writeFileSync(process.env.TALLY_FILE, `${passed} ${failed}\n`);
  }
}
