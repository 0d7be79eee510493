import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { drivers } from '../../src/backends/registry.ts';
import { driverNamed } from '../../src/settings/instances.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/differences.md'), 'utf8');

test('A client that the page on differences calls missing is missing.', () => {
  const [, sentence = ''] = /- The clients? ([^.]*)\./.exec(PAGE) ?? [];
  const names = [...sentence.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
  expect(names).not.toEqual([]);
  expect(names.filter((name) => driverNamed(name, drivers) !== undefined)).toEqual([]);
});
