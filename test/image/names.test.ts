import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import {
  formatFileName,
  getUri,
  type ParsedName,
  type ParseNameOptions,
  parseFileName,
  parseImageName,
  removeUri,
  splitExtension,
  uriScheme,
} from '../../src/image/names.ts';

/** Names, options and what the rules of the Python client, its three regular expressions in order, make of them. */
const RECORDED = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/names.json'), 'utf8')) as [
  string,
  ParseNameOptions,
  Record<string, string | null> | null,
][];

/** Undefined where it is no name; any other error is thrown. */
function tryParse(text: string, options: ParseNameOptions = {}): ParsedName | undefined {
  try {
    return parseImageName(text, options);
  } catch (error) {
    if (error instanceof SregistryError && error.code === 'INVALID_NAME') return undefined;
    throw error;
  }
}

const withoutNull = (record: object) =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null));

const parsed = (text: string, options = {}) => {
  const { registry, collection, image, tag, version, storage } = parseImageName(text, options);
  return [registry, collection, image, tag, version, storage];
};

describe('parseImageName', () => {
  it.each([
    ['ubuntu', [undefined, 'library', 'ubuntu', 'latest', undefined, 'library/ubuntu:latest.sif']],
    [
      'library/ubuntu:latest@version',
      [undefined, 'library', 'ubuntu', 'latest', 'version', 'library/ubuntu:latest@version.sif'],
    ],
    [
      'Vsoch/Hello-World:Pancakes',
      [undefined, 'vsoch', 'hello-world', 'pancakes', undefined, 'vsoch/hello-world:pancakes.sif'],
    ],
    ['a/b/c', ['a', 'b', 'c', 'latest', undefined, 'a/b/c:latest.sif']],
    ['a/b/c/d:x', ['a', 'b/c', 'd', 'x', undefined, 'a/b/c/d:x.sif']],
    [
      'quay.io/ubuntu:22.04',
      ['quay.io', 'library', 'ubuntu', '22.04', undefined, 'quay.io/library/ubuntu:22.04.sif'],
    ],
    [
      'localhost:5000/ubuntu',
      [
        'localhost:5000',
        'library',
        'ubuntu',
        'latest',
        undefined,
        'localhost:5000/library/ubuntu:latest.sif',
      ],
    ],
    ['my.coll/img', ['my.coll', 'library', 'img', 'latest', undefined, 'my.coll/library/img:latest.sif']],
    [
      'nvcr.io/nvidia/tensorflow:17.11',
      ['nvcr.io', 'nvidia', 'tensorflow', '17.11', undefined, 'nvcr.io/nvidia/tensorflow:17.11.sif'],
    ],
    [
      'ubuntu@sha256:abcdef',
      [undefined, 'library', 'ubuntu', 'latest', 'sha256:abcdef', 'library/ubuntu:latest@sha256:abcdef.sif'],
    ],
    ['x/y:1.0@ABC123', [undefined, 'x', 'y', '1.0', 'abc123', 'x/y:1.0@abc123.sif']],
  ])('reads %s as the Python client does', (text, expected) => {
    expect(parsed(text)).toEqual(expected);
  });

  it('gives what the Python client gives, for each recorded name', () => {
    for (const [text, options, expected] of RECORDED) {
      const name = tryParse(text, options);
      const recorded = expected && withoutNull({ ...expected, original: text });
      expect(name ?? null, `${text} ${JSON.stringify(options)}`).toEqual(recorded);
    }
    expect(RECORDED.length).toBeGreaterThan(200);
  });

  it('keeps host and port of a registry together, where the Python client took the path for a tag', () => {
    expect(parseImageName('localhost:5000/a/b/ubuntu').uri).toBe('localhost:5000/a/b/ubuntu:latest');
    expect(tryParse('a/b:c/d')).toBeUndefined();
  });

  it('removes an image extension only at the end', () => {
    expect(parseImageName('vsoch/x.sifter').image).toBe('x.sifter');
    expect(parseImageName('vsoch/x:1.0.simg').tag).toBe('1.0');
    expect(parseImageName('vsoch/x.img').image).toBe('x');
  });

  it('leaves collection and tag empty when defaults are off', () => {
    const name = parseImageName('dinosaur', { defaults: false });
    expect(name).toMatchObject({ collection: '', tag: '', url: 'dinosaur', uri: 'dinosaur' });
    expect(parseImageName('vsoch/dinosaur', { defaults: false }).uri).toBe('vsoch/dinosaur');
  });

  it('keeps a nested collection together when only a host can be a registry', () => {
    expect(parsed('demo/sub/img', { first: 'host' }).slice(0, 3)).toEqual([undefined, 'demo/sub', 'img']);
    expect(parsed('quay.io/sub/img', { first: 'host' }).slice(0, 3)).toEqual(['quay.io', 'sub', 'img']);
  });

  it('lets explicit options win over the text', () => {
    expect(
      parseImageName('http://127.0.0.1/Vsoch/x:1@A', {
        base: 'http://127.0.0.1',
        tag: 'Two',
        version: 'B',
        lowercase: false,
        ext: 'simg',
      }),
    ).toMatchObject({ collection: 'Vsoch', tag: 'Two', version: 'b', storage: 'Vsoch/x:Two@b.simg' });
    expect(parseImageName('x', { defaultCollection: '', defaultTag: 'dev' }).uri).toBe('x:dev');
  });

  it.each([
    '',
    '/dinosaur',
    'vsoch/',
    'a:b:c',
    'a//b',
    'a/../b',
    '..',
    '.sif',
    'a/b@',
    'a/b:',
    'a/b@../../etc/passwd',
    'a\u0000b',
    'a/b:c/d',
    ':x/y',
    'x\n',
  ])('refuses %j with INVALID_NAME and a hint', (text) => {
    expect(() => parseImageName(text)).toThrow(
      expect.objectContaining({
        code: 'INVALID_NAME',
        hint: expect.stringContaining('collection/image:tag'),
      }),
    );
  });

  it('refuses options that would escape the collection', () => {
    expect(() => parseImageName('a/b', { tag: '../x' })).toThrow(SregistryError);
    expect(() => parseImageName('b', { defaultCollection: '../x' })).toThrow(SregistryError);
  });
});

describe('uris', () => {
  it('getUri knows the schemes of the Python client and ours', () => {
    expect(getUri('docker://ubuntu')).toBe('docker');
    expect(getUri('GOOGLE_STORAGE://x')).toBe('google-storage');
    expect(getUri('shub://vsoch/x')).toBe('hub');
    expect(getUri('nothing://x')).toBeUndefined();
    expect(getUri('vsoch/hello-world')).toBeUndefined();
    expect(uriScheme('lab_s3://x')).toBe('lab-s3');
    expect(getUri('lab://x', new Set(['lab']))).toBe('lab');
  });

  it('removeUri leaves the name', () => {
    expect(removeUri('docker://ubuntu:1')).toBe('ubuntu:1');
    expect(removeUri('docker://https://quay.io/x')).toBe('quay.io/x');
    expect(removeUri('ubuntu')).toBe('ubuntu');
  });
});

describe('file names', () => {
  it.each([
    [
      'hello:latest.simg',
      { image: 'hello', tag: 'latest', version: undefined, extension: 'simg', tagged: true },
    ],
    ['Hello.sif', { image: 'Hello', tag: 'latest', version: undefined, extension: 'sif', tagged: false }],
    [
      'hello:latest@sha256:abc.simg',
      { image: 'hello', tag: 'latest', version: 'sha256:abc', extension: 'simg', tagged: true },
    ],
    ['hello@v1.img', { image: 'hello', tag: 'latest', version: 'v1', extension: 'img', tagged: false }],
    [
      'x.y:1.0.sif.simg',
      { image: 'x.y', tag: '1.0.sif', version: undefined, extension: 'simg', tagged: true },
    ],
  ])('%s is taken apart', (text, parts) => {
    expect(parseFileName(text)).toEqual(parts);
  });

  it.each([
    '',
    '.simg',
    '.x.simg.a1',
    '.x.simg',
    'x',
    'x.txt',
    'a/b.simg',
    'a:.simg',
    ':a.simg',
    'a:b:c.sif',
    'a\n.sif',
  ])('%j is no image', (text) => {
    expect(parseFileName(text)).toBeUndefined();
  });

  it('formatting gives the parts back', () => {
    const name = { image: 'Hello', tag: '1.0.img', version: 'sha256:abc' };
    expect(parseFileName(formatFileName(name, 'simg'))).toMatchObject(name);
    expect(formatFileName({ image: 'a', tag: 'b' }, 'sif')).toBe('a:b.sif');
  });

  it('splitExtension knows image extensions only', () => {
    expect(splitExtension('a/b:1.0.simg')).toEqual({ stem: 'a/b:1.0', extension: 'simg' });
    expect(splitExtension('a.txt')).toEqual({ stem: 'a.txt', extension: undefined });
    expect(splitExtension('sif')).toEqual({ stem: 'sif', extension: undefined });
  });
});
