import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { drivers } from '../../src/backends/registry.ts';
import { defaultInstanceOf } from '../../src/settings/instances.ts';

const DEFINITION = readFileSync(join(import.meta.dirname, '../../containers/Singularity.def'), 'utf8');

/** Section of an app, by its name. */
const section = (kind: string, app: string) =>
  new RegExp(`^%${kind} ${app}\\n((?: .*\\n)+)`, 'm').exec(DEFINITION)?.[1]?.trim();

test.each(drivers.map(defaultInstanceOf))('The container has an app that chooses %s.', (name) => {
  expect(section('appenv', name)).toBe(`export SREGISTRY_CLIENT=${name}`);
  expect(section('apprun', name)).toBe('exec sregistry "$@"');
});

test('The container has no app of a backend that does not exist.', () => {
  const apps = [...DEFINITION.matchAll(/^%appenv (.+)$/gm)].map(([, app]) => app);
  expect(apps.sort()).toEqual(drivers.map(defaultInstanceOf).sort());
});
