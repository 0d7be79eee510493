/**
 * The README, as written, by an ordinary user on a fresh Debian: its blocks of shell run in their order, in one shell that ends at the
 * first failure. The user has what the text says: the tarball, and a password. A registry of this machine stands for Docker
 * Hub, and another one for the server that the README has at localhost:5000; programs of a few lines stand for Slurm's.
 */
import { execFile } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, startRegistry } from '../servers/docker-registry.ts';
import { layerOf, programs, pushLayered, tarOf } from '../servers/layered.ts';
import { FreshRoot } from './fresh-root.ts';

const ROOT = join(import.meta.dirname, '../..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

/** What the README gives to run. A block without a language is for people who have a clone. */
const BLOCKS = [...README.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);

const RELEASE = 'NAME="Alpine Linux"';

/** Slurm, as far as the README uses it: the job runs at once, with one task. */
const SLURM = {
  sbatch: '#!/bin/sh\nUSER=$(id -un) exec bash -eu "$1"\n',
  srun: '#!/bin/sh\nexec "$@"\n',
};

needs({ root: true, fuse: true, apptainer: true, registry: true })('The README', () => {
  test('runs as written, for an ordinary user on a fresh machine', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sregistry-readme-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const words = [
      'packaging/main.ts',
      '--only',
      'tarball',
      '--arch',
      process.arch,
      '--level',
      '1',
      '--to',
      folder,
    ];
    await promisify(execFile)(process.execPath, words, { cwd: ROOT, timeout: 300_000 });
    const [tarball = ''] = globSync('*.tar.gz', { cwd: folder });

    const hub = await startRegistry();
    onTestFinished(() => hub.remove());
    const entries = [...programs('cat'), { path: 'etc/os-release', data: `${RELEASE}\n` }];
    await pushLayered(hub.url, 'library/alpine', '3.20', [layerOf(tarOf(entries))]);
    const team = await startRegistry({ auth: 'basic' });
    onTestFinished(() => team.remove());

    const root = new FreshRoot();
    onTestFinished(() => root.remove());
    root.put(join(folder, tarball), `/home/kim/${tarball}`);
    writeFileSync(join(folder, 'password.txt'), REGISTRY_LOGIN.password);
    root.put(join(folder, 'password.txt'), '/home/kim/password.txt');
    for (const [name, script] of Object.entries(SLURM)) {
      writeFileSync(join(folder, name), script, { mode: 0o755 });
      root.put(join(folder, name), `/usr/local/bin/${name}`);
    }
    const script = [`export SREGISTRY_DOCKERHUB_BASE=${hub.url}`, 'set -x', ...BLOCKS]
      .join('\n')
      .replaceAll('localhost:5000', team.host);
    writeFileSync(join(folder, 'readme.sh'), script);
    root.put(join(folder, 'readme.sh'), '/srv/readme.sh');

    const output = await root.run(`as_user 'bash -euo pipefail /srv/readme.sh'`);
    // From Docker Hub, from the folder, and in the job.
    expect(output.split(`\n${RELEASE}\n`).length - 1, output).toBe(3);
    expect(output).toContain('alpine:1.0.simg');
    expect(output).toMatch(/\steam:\/\/demo\/alpine:1\.0/);
  }, 600_000);
});
