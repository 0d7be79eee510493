import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { drivers } from '../../src/backends/registry.ts';
import { driverNamed } from '../../src/settings/instances.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/differences.md'), 'utf8');

/** Values of SREGISTRY_CLIENT in the Python tool. */
const CLIENTS = [
  'aws',
  'docker',
  'dropbox',
  'gitlab',
  'globus',
  'google-build',
  'google-compute',
  'google-drive',
  'google-storage',
  'hub',
  'nvidia',
  'registry',
  's3',
  'swift',
];

test.each(CLIENTS)('the client %s of the Python tool has a driver', (name) => {
  expect(driverNamed(name, drivers)).toBeDefined();
});

test('the page on differences calls no client missing', () => {
  expect(PAGE).not.toMatch(/^- The clients? /m);
});
