import { chmodSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Finding, runCheck } from '../../src/base/check.ts';
import { backendChecks, machineChecks } from '../../src/client/doctor.ts';
import { TemporaryHome } from './temporary.ts';

let home: TemporaryHome;
beforeEach(() => {
  home = new TemporaryHome();
});
afterEach(() => home[Symbol.dispose]());

async function diagnose(): Promise<ReadonlyMap<string, Finding>> {
  const checks = [...machineChecks(home.env), ...(await backendChecks(home.env))];
  const findings = await Promise.all(checks.map((check) => runCheck(check)));
  return new Map(findings.map((finding) => [finding.name, finding]));
}

test('On a machine where nothing is configured yet, nothing that is required is missing.', async () => {
  const findings = await diagnose();
  expect([...findings.values()].filter(({ ok, required }) => !ok && required)).toEqual([]);
  expect(findings.get('catalog')?.detail).toContain('0 images');
});

test('A secrets file that others can read is found, with the command that mends it.', async () => {
  home.configure({});
  chmodSync(home.path('.sregistry'), 0o644);
  expect((await diagnose()).get('secrets file')).toMatchObject({
    ok: false,
    fix: `chmod 600 ${home.path('.sregistry')}`,
  });
});

test('A secrets file that is malformed is found, and hides nothing else.', async () => {
  writeFileSync(home.path('.sregistry'), '{ "lab": ', { mode: 0o600 });
  const findings = await diagnose();
  expect(findings.get('secrets file')?.detail).toContain('malformed at line 1');
  expect(findings.get('cache directory')?.ok).toBe(true);
});

test('A cache directory that cannot be made is found.', async () => {
  writeFileSync(home.path('file'), '');
  home.env.SREGISTRY_CACHEDIR = home.path('file/cache');
  expect((await diagnose()).get('cache directory')).toMatchObject({ ok: false, required: true });
});

test('A damaged database is found.', async () => {
  home.env.SREGISTRY_DATABASE = home.folder;
  writeFileSync(
    home.path('sregistry.db'),
    'This is no database, and long enough to be looked at.'.repeat(50),
  );
  expect((await diagnose()).get('catalog')).toMatchObject({ ok: false, required: true });
});

test('A backend that does not answer is noted, and so is one that is none.', async () => {
  home.configure({ lab: { driver: 'oci', base: 'http://127.0.0.1:1' }, odd: { driver: 'nothing' } });
  const findings = await diagnose();
  expect(findings.get('backend lab')).toMatchObject({ ok: false, required: false });
  expect([...findings.values()].some(({ detail }) => detail.includes('"odd"'))).toBe(true);
});
