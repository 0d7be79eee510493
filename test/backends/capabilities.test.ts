/** What the drivers declare is what their backends have. */
import { expect, test } from 'vitest';
import { type Backend, CAPABILITIES, type Driver } from '../../src/backends/backend.ts';
import { drivers } from '../../src/backends/registry.ts';
import { declaration as template } from '../../src/backends/template/declaration.ts';
import type { OptionSpec } from '../../src/settings/options.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const all = [
  ...drivers,
  { ...template, load: async () => (await import('../../src/backends/template/index.ts')).default as Driver },
];

/** Values with which a backend can be made. */
function exampleOptions({ options }: Pick<Driver, 'options'>): Record<string, string> {
  const texts = Object.entries<OptionSpec>(options).filter(([, { type }]) => type !== 'boolean');
  const given = texts.map(([name, spec]) => [name, spec.default ?? spec.example]);
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

/** What a backend has that is neither in every one nor a capability. */
const OTHERS = [
  'arch',
  'http',
  'localPath',
  'openLocal',
  'readBlob',
  'keepTrace',
  'isCollectionName',
  'resolvesAhead',
  'close',
];
const ALWAYS: (keyof Backend)[] = ['name', 'driver', 'target', 'defaultCollection', 'resolve', 'read'];

test.each(all)(
  'a backend of the driver $name can do what the driver declares, and nothing else',
  async (entry) => {
    const driver = await entry.load();
    expect(driver.capabilities).toEqual(entry.capabilities);
    const env = { HOME: temporaryFolder() };
    const backend = driver.create({ name: entry.name, options: exampleOptions(entry), env });
    const methods = Object.keys(backend).filter(
      (key) => ![...ALWAYS, ...OTHERS].includes(key) && backend[key as keyof Backend] !== undefined,
    );
    await backend.close?.();
    // Listing is a method of every backend; the conformance suite says whether it works.
    expect(new Set([...methods])).toEqual(new Set([...entry.capabilities, 'list']));
    expect(backend.arch !== undefined).toBe('arch' in entry.options);
    expect(CAPABILITIES).toEqual(expect.arrayContaining([...entry.capabilities]));
  },
);
