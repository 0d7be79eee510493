import { expect, test } from 'vitest';
import { importOptional } from '../../src/backends/optional.ts';

test('a package that is there is imported', async () => {
  const { LRUCache } = await importOptional<typeof import('lru-cache')>('lru-cache', { driver: 'acme' });
  expect(new LRUCache({ max: 1 }).max).toBe(1);
});

test('a package that is not there is an error that says who needs it and how to install it', async () => {
  const wanted = { driver: 'acme', version: '^3.2.0', purpose: 'to sign its requests' };
  await expect(importOptional('@acme/no-such-package/auth', wanted)).rejects.toMatchObject({
    code: 'MISSING_DEPENDENCY',
    message: 'The driver acme needs the package @acme/no-such-package to sign its requests',
    hint: expect.stringContaining("npm install '@acme/no-such-package@^3.2.0'"),
  });
});
