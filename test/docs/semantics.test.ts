import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');

/** Whitespace, quotes and emphasis differ between prose and test names; the words must not. */
const words = (text: string) =>
  text
    .replace(/[`'"’\\]/g, '')
    .replace(/\s+/g, ' ')
    .trim();

const promises = [...readFileSync(join(root, 'docs/SEMANTICS.md'), 'utf8').matchAll(/\*\*([^*]+)\*\*/g)].map(
  ([, sentence = '']) => words(sentence),
);
const tests = globSync('test/{fs,e2e}/*.test.ts', { cwd: root })
  .map((file) => words(readFileSync(join(root, file), 'utf8')))
  .join('\n');

test.each(promises)('there is a test named: %s', (sentence) => {
  expect(tests.includes(`test(${sentence}`), 'no test in test/fs or test/e2e has that name').toBe(true);
});
