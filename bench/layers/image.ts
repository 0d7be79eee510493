/** A Docker image of the size that people use: a Debian root with Python, as four layers. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { TEST_STATE } from '../../test/servers/apptainer.ts';
import { digestOf, type Layer, layerOf, tarOf } from '../../test/servers/layered.ts';

/** The Debian root of the tests. */
const ROOT = join(TEST_STATE, 'sid');
/** Where layers are kept for the next run. */
const KEPT = join(TEST_STATE, 'bench');

/** What `tar` takes of the root; each layer leaves out what another one has. */
const PYTHON = ['usr/lib/python3', 'usr/lib/python3.14', 'usr/bin/python3.14', 'usr/bin/python3'];
const SHARED = ['usr/share', 'usr/lib/x86_64-linux-gnu/perl-base'];
const BASE = ['bin', 'lib', 'lib64', 'sbin', 'etc', 'usr'];

const CONFIG = {
  Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'LANG=C.UTF-8'],
  Cmd: ['/usr/bin/python3'],
  Labels: { 'org.opencontainers.image.title': 'bench' },
};

/** Why the image cannot be made here. */
export function imageUnavailable(): string | undefined {
  return existsSync(ROOT) ? undefined : 'there is no Debian root (scripts/setup --test, as root)';
}

/** The layers from the lowest, and the rest of the configuration. The archives themselves are left out. */
export function debianImage(): { readonly layers: readonly Layer[]; readonly config: object } {
  const there = (paths: readonly string[]) => paths.filter((path) => existsSync(join(ROOT, path)));
  const without = (paths: readonly string[]) => paths.map((path) => `--exclude=./${path}`);
  const layers = [
    kept('base', [...without([...PYTHON, ...SHARED]), ...there(BASE).map((path) => `./${path}`)]),
    kept(
      'shared',
      there(SHARED).map((path) => `./${path}`),
    ),
    kept(
      'python',
      there(PYTHON).map((path) => `./${path}`),
    ),
    layerOf(
      tarOf([
        { path: 'usr/share/.wh.doc' },
        { path: 'app/', type: 'directory' },
        { path: 'app/main.py', data: 'print("hello")\n' },
        { path: 'etc/motd', data: 'bench\n' },
      ]),
    ),
  ];
  return { layers, config: CONFIG };
}

/** A layer of what `tar` makes of its arguments, from the last run if that made it. */
function kept(name: string, args: readonly string[]): Layer {
  const key = createHash('sha256').update(args.join('\0')).digest('hex').slice(0, 12);
  const path = join(KEPT, `${name}-${key}`);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  const none = Buffer.alloc(0);
  if (existsSync(`${path}.diffid`))
    return {
      tar: none,
      blob: readFileSync(`${path}.gz`),
      mediaType,
      diffId: readFileSync(`${path}.diffid`, 'utf8'),
    };
  mkdirSync(KEPT, { recursive: true });
  const reproducible = ['--sort=name', '--mtime=@1580000000', '--numeric-owner', '--owner=0', '--group=0'];
  const options = { maxBuffer: 2 ** 31 - 1 };
  const tar = execFileSync('tar', ['-C', ROOT, ...reproducible, '-cf', '-', ...args], options);
  const blob = gzipSync(tar);
  writeFileSync(`${path}.gz`, blob);
  writeFileSync(`${path}.part`, digestOf(tar));
  renameSync(`${path}.part`, `${path}.diffid`);
  return { tar: none, blob, mediaType, diffId: digestOf(tar) };
}

/** An image of so many small files in folders of a thousand. */
export function manyFiles(count: number): readonly Layer[] {
  const entries = Array.from({ length: count }, (_, i) => ({
    path: `data/${Math.floor(i / 1000)}/file-${i}.txt`,
    data: `file ${i}\n`.repeat(20),
  }));
  return [layerOf(tarOf(entries))];
}
