import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { newBackend } from '../../src/client/new-backend.ts';
import { World } from '../e2e/support.ts';
import { temporaryCheckout } from '../helpers/checkout.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { startFileServer } from '../servers/file-server.ts';

const ROOT = join(import.meta.dirname, '../..');
const IMAGE = join(ROOT, 'test/fixtures/images/small-gzip.sif');

function run(folder: string, script: string, ...args: string[]): Promise<unknown> {
  return promisify(execFile)(process.execPath, [join(ROOT, 'node_modules', script), ...args], {
    cwd: folder,
  });
}

test('a new driver has code, a test and a page of its own name, and is among the drivers', async () => {
  const folder = await temporaryCheckout();
  const files = await newBackend({ name: 'acme-store', checkout: folder });
  expect(files).toEqual(
    expect.arrayContaining([
      'src/backends/acme-store/index.ts',
      'test/backends/acme-store.test.ts',
      'docs/backends/acme-store.md',
    ]),
  );
  const texts = files.map((file) => readFileSync(join(folder, file), 'utf8'));
  expect(texts.join('')).not.toMatch(/template/i);
  expect(texts.join('')).toContain('SREGISTRY_ACME_STORE_BASE');
  expect(texts.at(-1)).toContain("import { declaration as acmeStore } from './acme-store/declaration.ts';");
});

test('a new driver passes the linter and the first tests of the conformance suite at once', async () => {
  const folder = await temporaryCheckout();
  const files = await newBackend({ name: 'acme', checkout: folder });
  const code = files.filter((file) => file.endsWith('.ts'));
  await run(
    folder,
    '@biomejs/biome/bin/biome',
    'check',
    '--error-on-warnings',
    '--vcs-enabled=false',
    ...code,
  );
  const first = 'driver acme (resolves|reads)';
  await run(folder, 'vitest/vitest.mjs', 'run', 'test/backends/acme.test.ts', '-t', first);
});

needs({ fuse: true })('a new driver on this machine', () => {
  test('mounts at once', async () => {
    const folder = await temporaryCheckout();
    await newBackend({ name: 'acme', checkout: folder });
    await using server = await startFileServer({ writable: true, index: 'nginxJson' });
    await server.put('lab/hello:1.0.sif', readFileSync(IMAGE));
    const world = await World.create();
    onTestFinished(() => world.end());
    await mkdir(world.mountpoint);
    world.env.SREGISTRY_ACME_BASE = server.url;
    const sregistry = join(folder, 'bin/sregistry.js');
    await world.ok(world.run(process.execPath, [sregistry, 'mount', world.mountpoint]));
    expect(await world.ok('ls $MNT/acme/lab')).toBe('hello:1.0.sif\n');
    await world.ok(`cmp $MNT/acme/lab/hello:1.0.sif ${IMAGE}`);
  });
});

test.each(['', '../x', 'Acme', 'a b', '-a'])('%j cannot be the name of a driver', async (name) => {
  await expect(newBackend({ name, checkout: ROOT })).rejects.toMatchObject({ code: 'USAGE' });
});

test('a driver or folder that is there is never written over', async () => {
  await expect(newBackend({ name: 'dir', checkout: ROOT })).rejects.toMatchObject({ code: 'EXISTS' });
  await expect(newBackend({ name: 'template', checkout: ROOT })).rejects.toMatchObject({ code: 'EXISTS' });
});

test('a folder that is no checkout is refused, and left as it is', async () => {
  const folder = temporaryFolder();
  await expect(newBackend({ name: 'acme', checkout: folder })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(existsSync(join(folder, 'src'))).toBe(false);
});
