import { globSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { TestModule, Vitest } from 'vitest/node';
import {
  includesHolders,
  isExcused,
  type Outcome,
  promisesOf,
  semanticsPage,
  unheldPromises,
} from '../helpers/semantics.ts';
import SemanticsReporter, { judge } from '../helpers/semantics-reporter.ts';

const ROOT = join(import.meta.dirname, '../..');
const HOLDERS = globSync('test/{fs,e2e}/**/*.test.ts', { cwd: ROOT }).map((file) => join(ROOT, file));
const PROMISES = promisesOf(semanticsPage());

test('the promises of the page are found', () => {
  expect(PROMISES.length).toBeGreaterThan(20);
  expect(promisesOf('- **One `ls`\n  line.** Not this. **Two.**')).toEqual(['One `ls` line.', 'Two.']);
});

describe('a promise', () => {
  const why = (...tests: [string, Outcome][]) =>
    unheldPromises(
      ['`rm` removes it.'],
      tests.map(([name, outcome]) => ({ name, outcome })),
    )[0]?.why;

  test('is held by a test of its words that passed, whatever its quotes and what follows', () => {
    expect(why(['rm removes it.', 'passed'])).toBeUndefined();
    expect(why(['‘rm’ removes it.', 'passed'], ['`rm`  removes it. And more.', 'skipped'])).toBe(undefined);
  });

  test('is not held by a test that was skipped, failed, is yet to be written, or is not there', () => {
    expect(why(['`rm` removes it.', 'skipped'])).toBe('skipped');
    expect(why(['`rm` removes it.', 'todo'])).toBe('todo');
    expect(why(['`rm` removes it.', 'passed'], ['`rm` removes it.', 'failed'])).toBe('failed');
    expect(why(['`rm` removes nothing.', 'passed'])).toBe('missing');
    expect(why()).toBe('missing');
  });

  test('is excused for what the machine lacks alone, and in CI for nothing', () => {
    const unheld = (reason: 'skipped' | 'failed' | 'missing' | 'todo') => ({ sentence: 'x', why: reason });
    expect(isExcused(unheld('skipped'), false)).toBe(true);
    expect(isExcused(unheld('skipped'), true)).toBe(false);
    for (const reason of ['failed', 'missing', 'todo'] as const)
      expect(isExcused(unheld(reason), false)).toBe(false);
  });
});

test('a run counts as whole when every file ran whose tests hold promises', () => {
  expect(includesHolders(HOLDERS)).toBe(true);
  expect(includesHolders(HOLDERS.slice(1))).toBe(false);
});

describe('a run', () => {
  /** What vitest hands its reporters, as far as they look at it: the outcomes are those of the first file's tests. */
  const modules = (tests: [string, Outcome][], files = HOLDERS) =>
    files.map((moduleId, index) => ({
      moduleId,
      children: { allTests: () => (index === 0 ? tests : []).map(testCase) },
    })) as unknown as TestModule[];
  const testCase = ([name, outcome]: [string, Outcome]) => ({
    name,
    options: { mode: outcome === 'todo' ? 'todo' : 'run' },
    result: () => ({ state: outcome === 'todo' ? 'skipped' : outcome }),
  });
  const vitest = (config: Partial<Vitest['config']> = {}) => ({ config }) as Vitest;
  const allHeld = PROMISES.map((name): [string, Outcome] => [name, 'passed']);
  const [first = ''] = PROMISES;

  const exitCode = process.exitCode;
  afterEach(() => {
    process.exitCode = exitCode;
  });

  test('that holds every promise is quiet', () => {
    expect(judge(vitest(), [modules(allHeld), [], 'passed'])).toEqual([]);
  });

  test('of some tests only is not judged', () => {
    expect(judge(vitest(), [modules([], HOLDERS.slice(1)), [], 'passed'])).toBeUndefined();
    expect(judge(vitest({ testNamePattern: /rm/ }), [modules([]), [], 'passed'])).toBeUndefined();
    expect(judge(vitest({ shard: { index: 1, count: 2 } }), [modules([]), [], 'passed'])).toBeUndefined();
    expect(judge(vitest(), [modules([]), [], 'interrupted'])).toBeUndefined();
  });

  test('is not helped by a test of that name elsewhere than in test/fs and test/e2e', () => {
    const elsewhere = modules([[first, 'passed']], [join(ROOT, 'test/cli/main.test.ts')]);
    const unheld = judge(vitest(), [[...modules(allHeld.slice(1)), ...elsewhere], [], 'passed']);
    expect(unheld).toEqual([{ sentence: first, why: 'missing' }]);
  });

  test.each(['failed', 'todo'] as const)('with a promise whose test is %s fails, and names it', (outcome) => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {});
    onTestFinished(() => said.mockRestore());
    const reporter = new SemanticsReporter();
    reporter.onInit(vitest());
    process.exitCode = undefined;
    reporter.onTestRunEnd(modules([...allHeld.slice(1), [first, outcome]]), [], 'passed');
    expect(said.mock.calls.flat().join('\n')).toContain(`${outcome.padEnd(8)} ${first}`);
    expect(process.exitCode).toBe(1);
  });
});
