import { afterEach, beforeEach, expect, test } from 'vitest';
import { Home } from './home.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

/** Whether this machine can mount is not for this test to say; that doctor's exit code follows what it finds is. */
test('doctor fails if and only if something that is required is missing, and says what mends it.', async () => {
  const { code, stdout } = await home.sregistry('doctor', '--json');
  const findings: { name: string; ok: boolean; required: boolean; fix?: string }[] = JSON.parse(stdout);
  const missing = findings.filter(({ ok, required }) => !ok && required);
  expect(code).toBe(missing.length > 0 ? 1 : 0);
  for (const { fix } of missing) expect(fix).toBeTruthy();
  expect(findings.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'node',
      'secrets file',
      'cache directory',
      'libfuse 2',
      '/dev/fuse',
      'backend local',
    ]),
  );
});

test('doctor fails where the database is damaged.', async () => {
  home.env.SREGISTRY_DATABASE = home.folder;
  home.image('small-signed.sif', 'sregistry.db');
  const { code, stdout } = await home.sregistry('doctor');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^MISSING\tcatalog\t/m);
});
