import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { drivers } from '../../src/backends/registry.ts';

const ROOT = join(import.meta.dirname, '../..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

describe.each(drivers.map(({ name }) => name))('the driver %s', (name) => {
  const page = `docs/backends/${name}.md`;

  test('has a page with its options', () => {
    expect(existsSync(join(ROOT, page))).toBe(true);
    const { options } = drivers.find((driver) => driver.name === name) ?? { options: {} };
    const text = readFileSync(join(ROOT, page), 'utf8');
    if (Object.keys(options).length > 0) expect(text).toContain(`<!-- options: ${name} -->`);
  });

  test('is in the table of the README', () => {
    expect(README).toContain(`[${name}](${page})`);
  });
});
