import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { parseImageName } from '../../src/image/names.ts';
import type { RemoteImage } from '../../src/image/remote.ts';
import {
  copyIn,
  errnoOfCall,
  image,
  openWorld,
  readFileAt,
  stagedFiles,
  temporaryFolder,
  type WorldOptions,
  writeAll,
} from './support.ts';

const { EEXIST, EINVAL, ENOENT, EPERM, EROFS, ESTALE, EXDEV } = os.errno;

let small: Buffer;
let other: Buffer;
let base: string;

beforeEach(async () => {
  small = await image('small-gzip.sif');
  other = await image('small-zstd.sif');
  base = await temporaryFolder();
  await mkdir(join(base, 'demo'), { recursive: true });
  await writeFile(join(base, 'demo', 'small:1.0.sif'), small);
});

const open = (options: WorldOptions = {}) => openWorld({ lab: { driver: 'dir', base } }, options);

describe('paths', () => {
  test('the top shows the backends, a backend its collections, a collection its images', async () => {
    const { filesystem } = await open();
    expect((await filesystem.readdir('/')).sort()).toEqual(['lab', 'local']);
    expect(await filesystem.readdir('/lab')).toEqual(['demo']);
    expect(await filesystem.readdir('/lab/demo')).toEqual(['small:1.0.sif']);
  });

  test('A lookup with .simg, .sif or .img finds the same image.', async () => {
    const { filesystem } = await open();
    for (const extension of ['simg', 'sif', 'img']) {
      const { size } = await filesystem.getattr(`/lab/demo/small:1.0.${extension}`);
      expect(size).toBe(small.length);
    }
  });

  test('An image is also found by a name without colons, <image>@tag=<tag>.', async () => {
    const { filesystem } = await open();
    const { size } = await filesystem.getattr('/lab/demo/small@tag=1.0.sif');
    expect(size).toBe(small.length);
    await copyIn(filesystem, '/lab/demo/small@tag=2.0.sif', small);
    expect((await filesystem.getattr('/lab/demo/small:2.0.sif')).size).toBe(small.length);
    expect((await filesystem.readdir('/lab/demo')).sort()).toEqual(['small:1.0.sif', 'small:2.0.sif']);
  });

  test('A file name without a tag means the tag latest.', async () => {
    const { filesystem } = await open();
    await copyIn(filesystem, '/lab/demo/untagged.sif', small);
    expect((await filesystem.getattr('/lab/demo/untagged:latest.sif')).size).toBe(small.length);
  });

  test('what is not there is ENOENT: backend, collection, image, tag', async () => {
    const { filesystem } = await open();
    for (const path of [
      '/nowhere',
      '/nowhere/none',
      '/lab/none.part',
      '/lab/none:1',
      '/lab/demo/none:1.sif.Xy12',
      '/lab/demo/none:1.sif',
      '/lab/demo/small:9.sif',
      '/lab/.git',
    ])
      expect(await errnoOfCall(filesystem.getattr(path)), path).toBe(ENOENT);
  });

  test('`<file>.json` beside an image is what inspect says of it.', async () => {
    const { filesystem } = await open();
    const text = (await readFileAt(filesystem, '/lab/demo/small:1.0.sif.json')).toString();
    expect(JSON.parse(text)).toMatchObject({ size: small.length, image: 'small', tag: '1.0' });
    expect((await filesystem.getattr('/lab/demo/small:1.0.sif.json')).size).toBe(Buffer.byteLength(text));
    expect(await filesystem.readdir('/lab/demo')).not.toContain('small:1.0.sif.json');
  });

  test('Copying into a new collection needs no `mkdir`.', async () => {
    const { filesystem } = await open();
    expect((await filesystem.getattr('/lab/new')).mode & constants.S_IFDIR).toBe(constants.S_IFDIR);
    expect(await filesystem.readdir('/lab')).toEqual(['demo']);
    await copyIn(filesystem, '/lab/new/deeper/a:1.sif', small);
    expect(await filesystem.readdir('/lab/new/deeper')).toEqual(['a:1.sif']);
    expect((await filesystem.readdir('/lab')).sort()).toEqual(['demo', 'new']);
    expect(await readdir(join(base, 'new/deeper'))).toContain('a:1.sif');
    await copyIn(filesystem, '/lab/v1.0/b:1.sif', small);
    expect((await filesystem.readdir('/lab')).sort()).toEqual(['demo', 'new', 'v1.0']);
  });

  test('A folder is taken to exist if its name can be that of a collection.', async () => {
    for (const readOnly of [false, true]) {
      const { filesystem, session } = await open({ readOnly });
      const backend = await session.backend('lab');
      const questions = [vi.spyOn(backend, 'list'), vi.spyOn(backend, 'resolve')];
      for (const folder of ['/lab/none', '/lab/demo/none', '/lab/none/2024.1/tools'])
        expect((await filesystem.getattr(folder)).mode & constants.S_IFDIR, folder).not.toBe(0);
      for (const question of questions) expect(question).not.toHaveBeenCalled();
      expect(await filesystem.readdir('/lab')).toEqual(['demo']);
    }
  });

  test('A folder whose name looks like a file’s exists if its parent lists it.', async () => {
    const { filesystem } = await open();
    for (const name of ['image.part', 'image:1', 'image.sif.bak', 'image~', 'tmp.Xy12']) {
      expect(await errnoOfCall(filesystem.getattr(`/lab/${name}`)), name).toBe(ENOENT);
      await mkdir(join(base, name));
      expect((await filesystem.getattr(`/lab/${name}`)).mode & constants.S_IFDIR, name).not.toBe(0);
    }
  });

  test('A folder whose name no collection of its service can have gives ENOENT, and `mkdir` gives EINVAL.', async () => {
    const { filesystem } = await openWorld({ lab: { driver: 'oci', base: 'http://127.0.0.1:9' } });
    expect(await errnoOfCall(filesystem.getattr('/lab/Upper'))).toBe(ENOENT);
    expect(await errnoOfCall(filesystem.mkdir('/lab/Upper'))).toBe(EINVAL);
    expect((await filesystem.getattr('/lab/lower')).mode & constants.S_IFDIR).not.toBe(0);
  });

  test('Reading a folder that the registry does not know gives ENOENT.', async () => {
    const { filesystem } = await open();
    for (const folder of ['/lab/none', '/lab/demo/none', '/local/none']) {
      expect(await errnoOfCall(filesystem.readdir(folder)), folder).toBe(ENOENT);
      expect(await errnoOfCall(filesystem.opendir(folder)), folder).toBe(ENOENT);
    }
    await filesystem.opendir('/lab/demo');
  });

  test('`mkdir` makes a folder that becomes a collection when it holds an image.', async () => {
    const { filesystem } = await open();
    await filesystem.mkdir('/lab/new.old');
    expect(await filesystem.readdir('/lab/new.old')).toEqual([]);
    await copyIn(filesystem, '/lab/new.old/a:1.sif', small);
    expect(await filesystem.readdir('/lab/new.old')).toEqual(['a:1.sif']);
    expect(await readdir(join(base, 'new.old'))).toContain('a:1.sif');
  });
});

describe('reading', () => {
  test('An image can be executed: its mode is 0755, or 0555 on a read-only mount.', async () => {
    const modeOf = async (options: WorldOptions) => {
      const { filesystem } = await open(options);
      return (await filesystem.getattr('/lab/demo/small:1.0.sif')).mode & 0o777;
    };
    expect(await modeOf({})).toBe(0o755);
    expect(await modeOf({ readOnly: true })).toBe(0o555);
  });

  test('the bytes are the image, and extended attributes tell about it', async () => {
    const { filesystem } = await open();
    expect((await readFileAt(filesystem, '/lab/demo/small:1.0.sif')).equals(small)).toBe(true);
    const value = async (name: string) =>
      (await filesystem.getxattr('/lab/demo/small:1.0.sif', `user.sregistry.${name}`))?.toString();
    expect(await value('uri')).toBe('lab://demo/small:1.0');
    expect(await value('backend')).toBe('lab');
    expect(await value('cached')).toBe(String(small.length));
    expect(await value('nonsense')).toBeUndefined();
    expect(await filesystem.listxattr('/lab/demo/small:1.0.sif')).toContain('user.sregistry.revision');
  });

  test('While a file is open its path stays at that revision; the next open after the last close shows the new one.', async () => {
    const { filesystem, session } = await open();
    const path = '/lab/demo/small:1.0.sif';
    const handle = await filesystem.open(path, constants.O_RDONLY);
    await writeFile(join(base, 'demo', 'new'), other);
    await rename(join(base, 'demo', 'new'), join(base, 'demo', 'small:1.0.sif'));
    session.metadata.forget(await session.backend('lab'));
    expect((await filesystem.getattr(path)).size).toBe(small.length);
    const bytes = Buffer.alloc(small.length);
    await filesystem.read(handle, bytes, 0, bytes.length);
    expect(bytes.equals(small)).toBe(true);
    await filesystem.release(handle);
    expect((await filesystem.getattr(path)).size).toBe(other.length);
    expect((await readFileAt(filesystem, path)).equals(other)).toBe(true);
  });

  test('A link or a pipe put where an image lay, after the mount found it, is not opened.', async () => {
    const { filesystem, session } = await open();
    const backend = await session.backend('lab');
    const file = join(base, 'demo', 'small:1.0.sif');
    const found = await session.metadata.images.resolve(backend, parseImageName('demo/small:1.0'));
    vi.spyOn(backend, 'resolve').mockResolvedValue(found as RemoteImage);
    const opening = () => filesystem.open('/lab/demo/small:1.0.sif', constants.O_RDONLY);
    const secret = join(await temporaryFolder(), 'secret');
    await writeFile(secret, Buffer.alloc(small.length, 's'));
    await rm(file);
    await symlink(secret, file);
    expect(await errnoOfCall(opening())).toBe(ESTALE);
    await rm(file);
    execFileSync('mkfifo', [file]);
    expect(await errnoOfCall(opening())).toBe(ESTALE);
  });

  test('What the index of the cache does not answer fails no look at a file.', async () => {
    const { filesystem, session } = await open();
    const { bytes } = session.cache;
    for (const call of ['get', 'stored', 'findVerified'] as const)
      vi.spyOn(session.state.cacheIndex.entries, call).mockImplementation(() => {
        throw new SregistryError('DATABASE', 'damaged');
      });
    expect(filesystem.statfs().size).toBeGreaterThan(0);
    expect(session.cache.bytes).toBe(bytes);
  });
});

describe('writing', () => {
  test('Closing a whole image pushes it, and `close()` returns the push’s outcome.', async () => {
    const { filesystem, session } = await open();
    await copyIn(filesystem, '/lab/demo/copied:1.0.simg', other);
    const stored = (await readdir(join(base, 'demo'))).find((name) => name.startsWith('copied'));
    expect((await readFile(join(base, 'demo', stored as string))).equals(other)).toBe(true);
    expect(session.state.journal.list()).toEqual([]);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('Closing a part of an image pushes nothing.', async () => {
    const { filesystem, session } = await open();
    const path = '/lab/demo/halves:1.simg';
    const half = Math.floor(small.length / 2);
    const handle = await filesystem.create(path);
    await writeAll(filesystem, handle, small.subarray(0, half));
    await filesystem.flush(handle);
    expect(await readdir(join(base, 'demo'))).toEqual(['small:1.0.sif']);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete', size: half }]);
    await writeAll(filesystem, handle, small.subarray(half), half);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    expect((await readFileAt(filesystem, path)).equals(small)).toBe(true);
    expect(session.state.journal.list()).toEqual([]);
  });

  test('What is not an image is refused with EINVAL, and `user.sregistry.error` of its folder says why.', async () => {
    const { filesystem, session } = await open();
    const refused = copyIn(
      filesystem,
      '/lab/demo/x:1.simg',
      Buffer.from('only some notes, and no image at all\n'),
    );
    expect(await errnoOfCall(refused)).toBe(EINVAL);
    await refused.catch((error) => filesystem.errors.note('/lab/demo/x:1.simg', error));
    const note = await filesystem.getxattr('/lab/demo', 'user.sregistry.error');
    expect(note?.toString()).toMatch(/x:1\.simg was refused/);
    expect(await errnoOfCall(filesystem.getattr('/lab/demo/x:1.simg'))).toBe(ENOENT);
    expect(session.state.journal.list()).toMatchObject([{ state: 'refused', uri: 'lab://demo/x:1' }]);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('A temporary name that is renamed to an image’s name is pushed then.', async () => {
    const { filesystem, session } = await open();
    await copyIn(filesystem, '/lab/demo/.copied:1.0.simg.Xy12', small);
    expect(await readdir(join(base, 'demo'))).toEqual(['small:1.0.sif']);
    await filesystem.rename('/lab/demo/.copied:1.0.simg.Xy12', '/lab/demo/copied:1.0.simg');
    expect((await readFileAt(filesystem, '/lab/demo/copied:1.0.simg')).equals(small)).toBe(true);
    expect(await readdir(join(base, 'demo'))).toContain('copied:1.0.simg');
    expect(session.state.journal.list()).toEqual([]);
  });

  test('Writing over a tag replaces it.', async () => {
    const { filesystem } = await open();
    const handle = await filesystem.open('/lab/demo/small:1.0.sif', constants.O_WRONLY);
    await filesystem.ftruncate(handle, 0);
    await writeAll(filesystem, handle, other);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    expect((await readFile(join(base, 'demo', 'small:1.0.sif'))).equals(other)).toBe(true);
  });

  test('With --no-overwrite writing over a tag gives EEXIST.', async () => {
    const { filesystem } = await open({ noOverwrite: true });
    const call = filesystem.open('/lab/demo/small:1.0.sif', constants.O_WRONLY);
    expect(await errnoOfCall(call)).toBe(EEXIST);
    await copyIn(filesystem, '/lab/demo/.tmp', other);
    expect(await errnoOfCall(filesystem.rename('/lab/demo/.tmp', '/lab/demo/small:1.0.sif'))).toBe(EEXIST);
  });

  test('Opening an image for update copies it first, unless it is truncated.', async () => {
    const { filesystem } = await open();
    const handle = await filesystem.open('/lab/demo/small:1.0.sif', constants.O_RDWR);
    // The launch script of a SIF has 32 bytes of its own, which no offset of it points to.
    await filesystem.write(handle, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    const changed = await readFile(join(base, 'demo', 'small:1.0.sif'));
    expect(changed.subarray(0, 18).toString()).toBe('#!/usr/bin/env RUN');
    expect(changed.subarray(18).equals(small.subarray(18))).toBe(true);
  });

  test('a file opened for update and closed unchanged is not pushed', async () => {
    const { filesystem, session } = await open();
    const handle = await filesystem.open('/lab/demo/small:1.0.sif', constants.O_RDWR);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    expect(session.state.journal.list()).toEqual([]);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('Mode, owner and times of an image are accepted and not kept.', async () => {
    const { filesystem } = await open();
    await filesystem.setAttributes('/lab/demo/small:1.0.sif');
    expect(await errnoOfCall(filesystem.setAttributes('/lab/demo/none:1.sif'))).toBe(ENOENT);
  });

  test('--read-only gives EROFS to every write.', async () => {
    const { filesystem } = await open({ readOnly: true, allowDelete: true });
    const path = '/lab/demo/small:1.0.sif';
    const calls = [
      filesystem.create('/lab/demo/new:1.sif'),
      filesystem.open(path, constants.O_WRONLY),
      filesystem.truncate(path, 0),
      filesystem.unlink(path),
      filesystem.rename(path, '/lab/demo/new:1.sif'),
      filesystem.mkdir('/lab/new'),
      filesystem.setAttributes(path),
    ];
    for (const call of calls) expect(await errnoOfCall(call)).toBe(EROFS);
  });
});

describe('removing and renaming', () => {
  test('`rm` removes from the registry only with `--allow-delete`, else it gives EPERM.', async () => {
    const { filesystem } = await open();
    expect(await errnoOfCall(filesystem.unlink('/lab/demo/small:1.0.sif'))).toBe(EPERM);
    expect(await readdir(join(base, 'demo'))).toEqual(['small:1.0.sif']);
    const allowed = await open({ allowDelete: true });
    await allowed.filesystem.unlink('/lab/demo/small:1.0.sif');
    expect(await errnoOfCall(allowed.filesystem.getattr('/lab/demo/small:1.0.sif'))).toBe(ENOENT);
  });

  test('A file that was never pushed can always be removed.', async () => {
    const { filesystem, session } = await open();
    await copyIn(filesystem, '/lab/demo/.partial', small.subarray(0, 70_000));
    await filesystem.unlink('/lab/demo/.partial');
    expect(session.state.journal.list()).toEqual([]);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('`mv` between backends gives EXDEV, so that `mv` copies.', async () => {
    const { filesystem } = await open({ allowDelete: true });
    const call = filesystem.rename('/lab/demo/small:1.0.sif', '/local/demo/small:1.0.sif');
    expect(await errnoOfCall(call)).toBe(EXDEV);
  });

  test('within a backend a rename copies in the service and removes the old name', async () => {
    const { filesystem } = await open({ allowDelete: true });
    await filesystem.rename('/lab/demo/small:1.0.sif', '/lab/demo/small:2.0.sif');
    expect((await readFileAt(filesystem, '/lab/demo/small:2.0.sif')).equals(small)).toBe(true);
    expect(await errnoOfCall(filesystem.getattr('/lab/demo/small:1.0.sif'))).toBe(ENOENT);
  });

  test('a file removed while it is written is not pushed, and writing it goes on', async () => {
    const { filesystem, session } = await open();
    const handle = await filesystem.create('/lab/demo/gone:1.sif');
    await writeAll(filesystem, handle, small);
    await filesystem.rename('/lab/demo/gone:1.sif', '/lab/demo/.fuse_hidden0000000100000001');
    await filesystem.write(handle, Buffer.from('more'), small.length, 4);
    const { size } = await filesystem.getattr('/lab/demo/.fuse_hidden0000000100000001');
    expect(size).toBe(small.length + 4);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    await filesystem.unlink('/lab/demo/.fuse_hidden0000000100000001');
    expect(await readdir(join(base, 'demo'))).toEqual(['small:1.0.sif']);
    expect(session.state.journal.list()).toEqual([]);
    expect(await stagedFiles(session)).toEqual([]);
  });
});
