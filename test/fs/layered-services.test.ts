/** Images in layers of the services that are OCI registries with a login of their own, as files and as pulled images. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { inspect } from '../../src/client/inspect.ts';
import { pull } from '../../src/client/pull.ts';
import { readSif } from '../../src/image/sif.ts';
import { openFileSource } from '../../src/image/source.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { type Need, needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, startRegistry } from '../servers/docker-registry.ts';
import { startEcr } from '../servers/ecr.ts';
import { startFakeRegistry } from '../servers/fake-registry.ts';
import { digestOf, layerOf, pushIndex, pushLayered, type Registry, tarOf } from '../servers/layered.ts';
import { createTokenServer } from '../servers/token-server.ts';
import { fixture, openWorld, readFileAt } from './support.ts';

/** A service with nothing in it. */
interface Service {
  /** The instance of the secrets file. */
  readonly instance: object;
  /** Where to push images in layers, as the tools of containers do; makes the repository first where that is needed. */
  registry(repository: string): Promise<Registry>;
}

const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

/** NVIDIA NGC. */
async function startNgc(): Promise<Service> {
  const { url, remove } = await startRegistry({ auth: 'basic' });
  onTestFinished(remove);
  const { username, password } = REGISTRY_LOGIN;
  return {
    instance: { driver: 'nvidia', base: url, username, token: password },
    registry: async () => ({ url, authorization: basic(username, password) }),
  };
}

/** Amazon ECR. */
async function startAmazon(): Promise<Service> {
  const ecr = await startEcr();
  onTestFinished(() => ecr.close());
  const instance = { driver: 'aws', account: ecr.account, ...ecr.login, base: ecr.url, endpoint: ecr.api };
  return {
    instance,
    // A push of ours makes the repository; the password is the one that moto lends.
    registry: async (repository) => {
      const { session } = await openWorld({ shop: instance });
      const [image = '', ...collection] = repository.split('/').reverse();
      const name = { collection: collection.reverse().join('/'), image, tag: 'first' };
      const path = fixture('small-gzip.sif');
      await using source = await openFileSource(path);
      await (await session.backend('shop')).push?.({ path, size: source.size }, name);
      return { url: ecr.url, authorization: basic('AWS', `${ecr.account}-auth-token`) };
    },
  };
}

/** GitLab's registry: a login at its token service, which the driver oci has as its options. */
async function startGitlab(): Promise<Service> {
  const login = { username: 'reader', password: 'glpat-secret' };
  const tokens = createTokenServer({ ...login, lifetime: 300 });
  const registry = await startFakeRegistry({ tokens });
  onTestFinished(() => registry.close());
  return {
    instance: { driver: 'oci', base: registry.url, ...login },
    registry: async (repository) => {
      const query = new URLSearchParams({ scope: `repository:${repository}:pull,push` });
      const headers = { authorization: basic(login.username, login.password) };
      const reply = await fetch(`${registry.url}/token?${query}`, { headers });
      const { token } = (await reply.json()) as { token: string };
      return { url: registry.url, authorization: `Bearer ${token}` };
    },
  };
}

const SERVICES: readonly [string, Partial<Record<Need, boolean>>, () => Promise<Service>][] = [
  ['NVIDIA NGC', { registry: true }, startNgc],
  ['Amazon ECR', { registry: true, s3: true }, startAmazon],
  ['the registry of GitLab', {}, startGitlab],
];

const layer = (path: string, text: string) => layerOf(tarOf([{ path, data: text }]));

for (const [service, needed, start] of SERVICES)
  needs(needed)(`an image in layers of ${service}`, () => {
    test('is a file of the mount and is pulled as a SIF, for the architecture that is asked for', async () => {
      const { instance, registry } = await start();
      const at = await registry('lab/app');
      const base = layer('base', 'shared');
      const images = {
        amd64: await pushLayered(at, 'lab/app', 'x86', [base, layer('app', 'for amd64')], {}, 'amd64'),
        arm64: await pushLayered(at, 'lab/app', 'arm', [base, layer('app', 'for arm64')], {}, 'arm64'),
      };
      await pushIndex(at, 'lab/app', '1', images);

      for (const arch of ['amd64', 'arm64']) {
        const { filesystem, session, home } = await openWorld({ shop: instance }, { session: { arch } });
        const told = await inspect(session, 'shop://lab/app:1');
        expect(told).toMatchObject({ architecture: arch, estimated: true, cached: 0 });
        expect(session.layers.fetchedBytes).toBe(0);
        expect((await filesystem.readdir('/shop/lab')).sort()).toContain('app:1.simg');
        const bytes = await readFileAt(filesystem, '/shop/lab/app:1.simg');
        const root = await SquashFs.open({
          size: bytes.length,
          read: async (offset, length) => bytes.subarray(offset, offset + length),
        });
        const read = async (path: string) => Buffer.from((await root.readFile(path, 100)) ?? '').toString();
        expect([await read('/base'), await read('/app')]).toEqual(['shared', `for ${arch}`]);
        expect((await filesystem.getattr('/shop/lab/app:1.simg')).size).toBe(bytes.length);

        const file = join(home, 'app.sif');
        await pull(session, 'shop://lab/app:1', { file, noLibrary: true });
        await using source = await openFileSource(file);
        expect((await readSif(source))?.header.architecture).toBe(arch);
        expect(session.cache.list().map(({ digest }) => digest)).toContain(digestOf(base.tar));
      }
    });
  });
