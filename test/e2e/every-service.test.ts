/** What must hold for every service, and between any two of them. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pMap from 'p-map';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copy } from '../../src/client/copy.ts';
import { labelsOf } from '../../src/client/inspect-remote.ts';
import { Session } from '../../src/client/session.ts';
import { streamTo } from '../../src/client/stream.ts';
import { findUsableImage, parseTarget } from '../../src/client/target.ts';
import { needs } from '../helpers/skip.ts';
import { SERVICES, type Service, startEvery } from '../servers/every.ts';
import { fixture, sha256, World } from './support.ts';

let world: World;
let services: Map<string, Service>;
let image: string;

const service = (name: string) => services.get(name) as Service;
const collectionOf = (name: string) => service(name).collection ?? 'lab/tools';

/** An image of a service that is there from the beginning, or was put there by {@link fill}. */
const seedOf = (name: string) => `${name}://${collectionOf(name)}/seed:1.0`;

/** Puts an image into each service, by cp through a mount where it can be written. */
async function fill(): Promise<void> {
  const bytes = await readFile(image);
  await mountAll();
  for (const { name, seed } of services.values()) {
    if (seed !== undefined) seed(bytes);
    else {
      const folder = `$MNT/${name}/${collectionOf(name)}`;
      await world.ok(`cp ${image} ${folder}/seed:1.0.sif`);
    }
  }
  await world.unmount();
}

const mountAll = () => world.mount(...SERVICES.flatMap((name) => ['--backend', name]));

needs({ fuse: true, apptainer: true, root: true, registry: true, s3: true, swift: true, webdav: true })(
  'every service',
  () => {
    beforeAll(async () => {
      world = await World.create();
      image = fixture('small-gzip.sif');
      const started = await startEvery(world.home);
      services = new Map(started.map((one) => [one.name, one]));
      const secrets = Object.fromEntries(started.map(({ name, entry }) => [name, entry]));
      // The catalog of this machine is one of the services; the home of a session is not.
      Object.assign(world.env, {
        SREGISTRY_DATABASE: join(world.home, 'database'),
        SREGISTRY_STORAGE: join(world.home, 'storage'),
      });
      await writeFile(join(world.home, '.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
      await fill();
    }, 120_000);
    afterAll(async () => {
      await world.end();
      await Promise.all([...(services?.values() ?? [])].map(({ close }) => close()));
    });

    describe('run by Apptainer through a mount, from an empty cache', () => {
      beforeAll(async () => {
        await rm(world.cache, { recursive: true, force: true });
        await mountAll();
      });
      afterAll(() => world.unmount());

      test.each(SERVICES)('%s', async (name) => {
        const [listed] = (await world.ok(`ls $MNT/${name}/${collectionOf(name)}`)).split('\n');
        const path = `${name}/${collectionOf(name)}/${listed}`;
        expect(await world.exec(path, '/bin/echo', name)).toBe(`${name}\n`);
      });
    });

    describe('copied by cp into a collection that does not exist yet', () => {
      beforeAll(mountAll);
      afterAll(() => world.unmount());

      const pushable = SERVICES.filter((name) => !['hub', 'http'].includes(name));
      test.each(pushable)('%s', async (name) => {
        expect(service(name).seed).toBeUndefined();
        // A registry server has one level of collections.
        const folder = `$MNT/${name}/${name === 'registry' ? 'fresh' : 'fresh/v1.0'}`;
        expect((await world.shell(`ls ${folder}`)).stderr).toContain('No such file or directory');
        await world.ok(`cp ${image} ${folder}/image:1.0.sif && cmp ${image} ${folder}/image:1.0.sif`);
        expect(await world.ok(`ls ${folder}`)).toContain('image:1.0.');
      });
    });

    describe('copied to every other service that can be pushed to', () => {
      test.each(SERVICES)('from %s', async (from) => {
        await using session = await Session.open({ env: world.env });
        const targets = [...services.values()].filter(
          ({ name, seed }) => seed === undefined && name !== from,
        );
        const uris = targets.map(({ name }) => `${name}://${collectionOf(name)}/from-${from}:1.0`);
        await pMap(uris, (uri) => copy(session, seedOf(from), uri), { concurrency: 4 });
        // Another machine: what the copying one remembers is not what the services have.
        await using elsewhere = await Session.open({
          env: { ...world.env, HOME: await homeElsewhere(from) },
        });
        const labels = await labelsAt(elsewhere, seedOf(from));
        expect(Object.keys(labels)).not.toEqual([]);
        const wanted = await sha256(image);
        const check = async (uri: string) => {
          expect(await labelsAt(elsewhere, uri), uri).toEqual(labels);
          expect(await digestAt(elsewhere, uri), uri).toBe(wanted);
        };
        await pMap(uris, check, { concurrency: 4 });
      });
    });
  },
);

/** A home with the same settings and nothing else. */
async function homeElsewhere(name: string): Promise<string> {
  const home = join(world.home, `elsewhere-${name}`);
  await mkdir(home);
  await copyFile(join(world.home, '.sregistry'), join(home, '.sregistry'));
  return home;
}

async function find(session: Session, uri: string) {
  const target = await parseTarget(uri, session);
  return { backend: target.backend, found: await findUsableImage(session, target) };
}

async function labelsAt(session: Session, uri: string) {
  const { backend, found } = await find(session, uri);
  return labelsOf(session, backend, found);
}

/** SHA-256 of the bytes that the service sends, past the cache. */
async function digestAt(session: Session, uri: string): Promise<string> {
  const { backend, found } = await find(session, uri);
  const file = join(world.home, `received-${backend.name}.sif`);
  await streamTo(backend, found, file);
  try {
    return await sha256(file);
  } finally {
    await rm(file);
  }
}
