import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { drivers } from '../../src/backends/registry.ts';
import { KNOWN_URIS } from '../../src/image/uri.ts';
import { driverNamed } from '../../src/settings/instances.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/differences.md'), 'utf8');

test('The page on differences calls exactly those clients missing that no driver stands for.', () => {
  const [, sentence = ''] = /- The clients? ([^.]*)\./.exec(PAGE) ?? [];
  const names = [...sentence.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
  const missing = [...KNOWN_URIS].filter((name) => driverNamed(name, drivers) === undefined);
  expect(names.sort()).toEqual(missing.sort());
});
