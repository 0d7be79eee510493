/** A reporter of vitest that leaves "PASSED FAILED" in $TALLY_FILE for .ci/run. What did not pass has failed. */
import { writeFileSync } from 'node:fs';
import type { Reporter } from 'vitest/reporters';

type RunEnd = Parameters<NonNullable<Reporter['onTestRunEnd']>>;

export default class Tally implements Reporter {
  onTestRunEnd(modules: RunEnd[0], unhandledErrors: RunEnd[1]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    const brokenFiles = modules.filter((module) => module.errors().length > 0).length;
    const failed = tests.length - passed + brokenFiles + unhandledErrors.length;
    if (process.env.TALLY_FILE) writeFileSync(process.env.TALLY_FILE, `${passed} ${failed}\n`);
  }
}
