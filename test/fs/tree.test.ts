import { describe, expect, test } from 'vitest';
import { fileNameOf, keyOf, looksLikeFile, parentOf, parsePath } from '../../src/fs/tree.ts';

describe('a path', () => {
  test.each([
    ['/', { kind: 'root' }],
    ['/lab', { kind: 'folder', backend: 'lab', collection: '' }],
    [
      '/docker/quay.io/biocontainers',
      { kind: 'folder', backend: 'docker', collection: 'quay.io/biocontainers' },
    ],
    [
      '/hub/vsoch/hello-world:latest.simg',
      {
        kind: 'image',
        backend: 'hub',
        collection: 'vsoch',
        extension: 'simg',
        name: { collection: 'vsoch', image: 'hello-world', tag: 'latest' },
      },
    ],
    [
      '/docker/quay.io/bio/samtools:1.9@sha256:ab.sif',
      {
        kind: 'image',
        name: { collection: 'quay.io/bio', image: 'samtools', tag: '1.9', version: 'sha256:ab' },
      },
    ],
    [
      '/lab/a/b:1.sif.json',
      { kind: 'inspect', backend: 'lab', name: { collection: 'a', image: 'b', tag: '1' } },
    ],
    ['/lab/a/notes.json', { kind: 'folder', collection: 'a/notes.json' }],
    ['/lab/top:1.img', { kind: 'image', collection: '', name: { collection: '', image: 'top', tag: '1' } }],
    ['/lab/a/.b:1.sif.x7', { kind: 'folder' }],
  ])('%s stands for what it names', (path, place) => {
    expect(parsePath(path)).toMatchObject(place);
  });

  test.each(['/lab/..', '/lab/./x', '/lab/a\u0000b:1.sif', '/../etc/passwd'])(
    '%j stands for nothing',
    (path) => {
      expect(parsePath(path)).toBeUndefined();
    },
  );

  test.each([
    ['hello@tag=1.0.simg', 'hello:1.0.simg'],
    ['hello@sha256=ab.sif', 'hello@sha256:ab.sif'],
    ['hello@tag=1.0@sha256=ab.sif', 'hello:1.0@sha256:ab.sif'],
    ['hello@tag=1.0.sif.json', 'hello:1.0.sif.json'],
  ])('%s is %s without colons', (spelling, file) => {
    expect(parsePath(`/lab/demo/${spelling}`)).toEqual(parsePath(`/lab/demo/${file}`));
    expect(keyOf(`/lab/demo/${spelling}`)).toBe(
      file.endsWith('.json') ? `/lab/demo/${spelling}` : keyOf(`/lab/demo/${file}`),
    );
  });

  test.each(['hello@tag=.simg', '@tag=1.simg', 'hello@tag=1:2.simg'])('%s names no image', (file) => {
    expect(parsePath(`/lab/demo/${file}`)).toMatchObject({ kind: 'folder' });
  });

  test('a name that cannot be a file name is not listed', () => {
    expect(fileNameOf({ collection: '', image: 'a/../b', tag: '1' }, 'sif')).toBeUndefined();
    expect(fileNameOf({ collection: '', image: 'a', tag: '1\n' }, 'sif')).toBeUndefined();
  });

  test.each([
    'tool:1.0.sif.part',
    'tool.sif.Xy12Ab',
    'tool.sif~',
    'tool.SIF.filepart',
    'tool.simg.1a2b3c4d.partial',
    'tool.sif-new',
    'upload.tmp',
    'tmp.Xy12Ab34Cd',
    'tool:1',
    'package.json',
  ])('%s looks like a file', (name) => {
    expect(looksLikeFile(`/lab/${name}`)).toBe(true);
  });

  test.each(['lab', 'v1.0', '2024.1', 'quay.io', 'my.tools', 'de.nbi', 'sifter', 'x.sifter', 'tmp', 'parts'])(
    '%s looks like a collection',
    (name) => {
      expect(looksLikeFile(`/lab/${name}`)).toBe(false);
    },
  );

  test('the parent of what is at the top is the top', () => {
    expect(parentOf('/lab')).toBe('/');
    expect(parentOf('/lab/a')).toBe('/lab');
  });
});
