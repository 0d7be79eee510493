import { describe, expect, test } from 'vitest';
import { scopesOf } from '../../src/backends/oci/auth.ts';
import { parseChallenges } from '../../src/backends/oci/challenge.ts';
import {
  DOCKER_HUB,
  isDigest,
  isRepository,
  isTag,
  repositoryOf,
  repositoryOfImage,
} from '../../src/backends/oci/reference.ts';

describe('where a name lies', () => {
  test.each([
    [{ collection: 'demo', image: 'large' }, 'localhost:5000', 'demo/large'],
    [{ collection: '', image: 'large' }, 'localhost:5000', 'large'],
    [{ collection: 'localhost:5000/demo', image: 'large' }, 'localhost:5000', 'demo/large'],
    [{ registry: 'a', collection: 'b', image: 'c' }, 'localhost:5000', 'a/b/c'],
    [{ collection: 'my.project', image: 'c' }, 'localhost:5000', 'my.project/c'],
  ])('with a base, all of %o is the repository', (name, base, repository) => {
    expect(repositoryOfImage(name, base)).toEqual({ host: base, repository });
  });

  test.each([
    [{ collection: 'quay.io/bio', image: 'tools' }, 'quay.io', 'bio/tools'],
    [{ registry: 'quay.io', collection: 'bio', image: 'tools' }, 'quay.io', 'bio/tools'],
    [{ collection: 'localhost/x', image: 'y' }, 'localhost', 'x/y'],
    [{ collection: 'GHCR.io', image: 'y' }, 'ghcr.io', 'y'],
    [{ collection: 'vsoch', image: 'hello' }, DOCKER_HUB, 'vsoch/hello'],
    [{ collection: '', image: 'ubuntu' }, DOCKER_HUB, 'library/ubuntu'],
    [{ collection: 'docker.io', image: 'ubuntu' }, DOCKER_HUB, 'library/ubuntu'],
    [{ registry: 'index.docker.io', collection: 'library', image: 'ubuntu' }, DOCKER_HUB, 'library/ubuntu'],
    [{ collection: '', image: 'my.image' }, DOCKER_HUB, 'library/my.image'],
  ])('without a base, %o begins with a registry or lies on Docker Hub', (name, host, repository) => {
    expect(repositoryOfImage(name)).toEqual({ host, repository });
  });

  test('a collection may be a registry as a whole', () => {
    expect(repositoryOf('quay.io', undefined)).toEqual({ host: 'quay.io', repository: '' });
    expect(repositoryOf('', undefined)).toBeUndefined();
    expect(repositoryOf('', 'quay.io')).toEqual({ host: 'quay.io', repository: '' });
  });
});

describe('the grammar of names', () => {
  test('repositories, tags and digests are those of the specification', () => {
    expect(['a', 'a/b-c/d_e__f.g', 'a--b'].every(isRepository)).toBe(true);
    expect(['', 'A', '../x', 'a//b', 'a/', '-a', 'a..b', 'a/../b', 'x'.repeat(256)].some(isRepository)).toBe(
      false,
    );
    expect(['latest', '1.0', '_x', 'x'.repeat(128)].every(isTag)).toBe(true);
    expect(['', '.x', '-x', 'a/b', 'a b', 'ü', 'x'.repeat(129), 'a\n'].some(isTag)).toBe(false);
    expect(isDigest(`sha256:${'a'.repeat(64)}`)).toBe(true);
    expect([`sha256:${'A'.repeat(64)}`, 'sha256:../../x', `md5:${'a'.repeat(32)}`].some(isDigest)).toBe(
      false,
    );
  });
});

describe('challenges', () => {
  test('a bearer challenge keeps commas and escapes inside its quotes', () => {
    const header =
      'Bearer realm="https://auth.example/token",service="a \\"b\\"",scope="repository:x:pull,push"';
    expect(parseChallenges(header)).toEqual([
      {
        scheme: 'bearer',
        parameters: {
          realm: 'https://auth.example/token',
          service: 'a "b"',
          scope: 'repository:x:pull,push',
        },
      },
    ]);
  });

  test('several challenges in one header are told apart', () => {
    const header = 'Negotiate, NTLM abc==, Basic realm=plain , BEARER Realm = "r" , error="invalid_token"';
    expect(parseChallenges(header)).toEqual([
      { scheme: 'negotiate', parameters: {} },
      { scheme: 'ntlm', parameters: {} },
      { scheme: 'basic', parameters: { realm: 'plain' } },
      { scheme: 'bearer', parameters: { realm: 'r', error: 'invalid_token' } },
    ]);
  });

  test('nonsense is no challenge and takes no time', () => {
    expect(parseChallenges('')).toEqual([]);
    expect(parseChallenges('realm="x"')).toEqual([]);
    expect(parseChallenges(`Bearer realm="${'\\'.repeat(16_000)}`)).toEqual([
      { scheme: 'bearer', parameters: {} },
    ]);
    expect(parseChallenges(`${'a '.repeat(8_000)}"`)).toHaveLength(8_000);
  });
});

test.each([
  ['GET', '/v2/', []],
  ['GET', '/v2/_catalog?n=1', ['registry:catalog:*']],
  ['HEAD', '/v2/a/b/manifests/latest', ['repository:a/b:pull']],
  ['GET', '/v2/blobs/manifests/blobs/sha256:0', ['repository:blobs/manifests:pull']],
  ['DELETE', '/v2/a/manifests/latest', ['repository:a:delete']],
  ['PATCH', '/v2/a/blobs/uploads/id?state=1', ['repository:a:pull,push']],
  ['POST', '/v2/a/blobs/uploads/?mount=sha256:0&from=c/d', ['repository:a:pull,push', 'repository:c/d:pull']],
])('%s %s needs the scopes %o', (method, path, scopes) => {
  expect(scopesOf(method, new URL(path, 'http://x'))).toEqual(scopes);
});
