import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { push } from '../../src/client/push.ts';
import type { Session } from '../../src/client/session.ts';
import { defaultFileName, findImage, parseTarget } from '../../src/client/target.ts';
import { formatImageName } from '../../src/image/names.ts';
import { startFileServer } from '../servers/file-server.ts';
import { fixture, TemporaryHome } from './temporary.ts';

let home: TemporaryHome;
let session: Session;
beforeEach(async () => {
  home = new TemporaryHome();
  home.configure({
    Shelf_1: home.shelf('one'),
    lab: { driver: 'oci', base: 'http://localhost:1' },
    SREGISTRY_CLIENT: 'lab',
  });
  session = await home.open();
});
afterEach(async () => {
  await session.close();
  home[Symbol.dispose]();
});

const parse = async (text: string, tag?: string) => {
  const { backend, name } = await parseTarget(text, session, { tag });
  return [backend.name, formatImageName(name)];
};

describe('The backend of a text', () => {
  test.each([
    ['lab://demo/x:1', 'lab'],
    ['Shelf_1://demo/x:1', 'Shelf_1'],
    ['local://demo/x:1', 'local'],
    ['oras://quay.io/demo/x:1', 'docker'],
    ['docker://quay.io/demo/x:1', 'docker'],
    ['shub://vsoch/hello-world', 'hub'],
    ['demo/x:1', 'lab'],
  ])('is its scheme, whatever its kind, else the active one: %s', async (text, backend) => {
    expect((await parse(text))[0]).toBe(backend);
  });

  test('is that of SREGISTRY_CLIENT before the active one, and hub where there is neither.', async () => {
    home.env.SREGISTRY_CLIENT = 'local';
    await using preferring = await home.open();
    expect((await parseTarget('demo/x', preferring)).backend.name).toBe('local');

    delete home.env.SREGISTRY_CLIENT;
    home.configure({});
    await using plain = await home.open();
    expect((await parseTarget('demo/x', plain)).backend.name).toBe('hub');
  });

  test('that means none is an error which suggests the nearest.', async () => {
    await expect(parse('lb://demo/x')).rejects.toMatchObject({
      code: 'SETTINGS',
      message: expect.stringContaining('"lb"'),
      hint: 'Did you mean lab?',
    });
  });
});

describe('The name in a text', () => {
  test.each([
    ['lab://demo/x', 'demo/x:latest'],
    ['lab://x', 'x:latest'],
    ['lab://Demo/X:Tag.sif', 'Demo/X:Tag'],
    ['lab://a/b/c:1', 'a/b/c:1'],
    ['lab://demo/x:1@sha256:ABC', 'demo/x:1@sha256:abc'],
    ['docker://ubuntu:22.04', 'library/ubuntu:22.04'],
    ['docker://quay.io/bio/samtools:1.9', 'quay.io/bio/samtools:1.9'],
    ['docker://localhost:5000/demo/x', 'localhost:5000/demo/x:latest'],
  ])('keeps its case, and gets what the backend has for what is missing: %s', async (text, name) => {
    expect((await parse(text))[1]).toBe(name);
  });

  test('is a registry and a nested collection only where it looks like that.', async () => {
    const { name } = await parseTarget('lab://a/b/c:1', session);
    expect(name).toEqual({
      registry: undefined,
      collection: 'a/b',
      image: 'c',
      tag: '1',
      version: undefined,
    });
    expect((await parseTarget('docker://quay.io/a/b:1', session)).name.registry).toBe('quay.io');
  });

  test('has the tag that is given apart.', async () => {
    expect((await parse('lab://demo/x:1', '2'))[1]).toBe('demo/x:2');
  });

  test('that cannot be one is refused.', async () => {
    await expect(parse('lab://../x')).rejects.toMatchObject({ code: 'INVALID_NAME' });
  });
});

test('An image is written to a file of its whole name, unless told otherwise.', () => {
  const name = { registry: 'quay.io', collection: 'a/b', image: 'x', tag: '1' };
  expect(defaultFileName(name)).toBe('quay.io-a-b-x:1.sif');
  expect(defaultFileName({ ...name, registry: undefined, version: 'abc' })).toBe('a-b-x:1@abc.sif');
});

describe('The address of a file on a web server', () => {
  test.each(['http://example.org/lab/hello_1.0.simg', 'http://example.org:8080/lab/hello_1.0.simg'])(
    'stays plain http if it is written so: %s',
    async (text) => {
      const { backend, name } = await parseTarget(text, session);
      expect(backend.target).toBe('http://');
      expect(session.uri(backend, name)).toBe(text.replace('.simg', ':latest'));
    },
  );

  test('is https otherwise, also in the URI that is told.', async () => {
    const { backend, name } = await parseTarget('https://example.org/lab/hello_1.0.simg', session);
    expect(backend.target).toBe('https://');
    expect(session.uri(backend, name)).toBe('https://example.org/lab/hello_1.0:latest');
  });

  test('is the first file that is looked for, and the only one if it is there.', async () => {
    await using server = await startFileServer();
    await server.put('lab/hello.simg', 'one');
    await server.put('lab/hello:latest.sif', 'later');
    const find = async (text: string) => findImage(session, await parseTarget(text, session));
    expect(await find(`${server.url}/lab/hello.simg`)).toMatchObject({ size: 3, extension: 'simg' });
    expect(server.requests.map(({ url }) => url)).not.toContain('/lab/hello:latest.sif');
    expect(await find(`${server.url}/lab/hello.img`)).toMatchObject({ extension: expect.any(String) });
  });
});

describe('An image that is not there', () => {
  const find = async (text: string) => findImage(session, await parseTarget(text, session));

  test('is told with the name in lower case, if the Python client pushed it so.', async () => {
    await push(session, fixture('old-plain.sqsh'), 'Shelf_1://demo/hello:1.0');
    await expect(find('Shelf_1://Demo/Hello:1.0')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      hint: expect.stringContaining('Did you mean Shelf_1://demo/hello:1.0?'),
    });
    await expect(find('Shelf_1://Demo/Other:1.0')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      hint: expect.stringContaining('sregistry search'),
    });
  });
});
