/** Search, share, remove, copy and check: each as named, or absent as stated. */

import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { RemoteImage, SearchQuery } from '../../../src/backends/backend.ts';
import type { Ability, Lacks } from '../conformance.ts';
import { type Bench, content } from './bench.ts';

type Method = Extract<Ability, 'search' | 'share' | 'remove' | 'copy' | 'check'>;

export function managing(at: () => Bench, lacks: Lacks): void {
  const can = (method: Method, cases: () => void): void => {
    if (lacks[method] === undefined) cases();
    else
      test(`no ${method}: ${lacks[method]}`, () => {
        expect(at().backend[method]).toBeUndefined();
      });
  };

  can('search', () => {
    const search = async (query: SearchQuery) => {
      const found: RemoteImage[] = [];
      for await (const image of at().backend.search?.(query) ?? []) found.push(image);
      return found;
    };

    test('a search finds images by a part of their names, whatever its case', async () => {
      const { image } = await at().image(at().name(`needle${Date.now()}:1.0`));
      const found = await search({ query: image.name.image.toUpperCase() });
      expect(found.map(({ name }) => name)).toEqual([image.name]);
      expect(await search({ query: `${image.name.image}-no` })).toEqual([]);
    });

    test('a search finds images by a glob over the whole name', async () => {
      const { image } = await at().image(at().name('haystack:1.0'));
      const found = await search({ query: `${image.name.collection}/h*k:1.?` });
      expect(found.map(({ name }) => name)).toEqual([image.name]);
    });

    test('an empty search finds everything', async () => {
      const { image } = await at().image();
      const found = await search({ query: '' });
      expect(found.map(({ name }) => name)).toContainEqual(image.name);
    });

    test('what a search finds can be read', async () => {
      const { image, bytes } = await at().image(at().name(`found${Date.now()}:1.0`));
      const [found] = await search({ query: image.name.image });
      expect(await at().read(found as RemoteImage)).toEqual(bytes);
    });

    if (lacks.annotations !== undefined) return;
    test('a search finds images by their labels', async () => {
      const name = at().name();
      const marker = `marker-${name.collection}`;
      await at().store(name, content(100), { MARKER: marker });
      const found = await search({ query: '', labels: { MARKER: marker } });
      expect(found.map((image) => image.name)).toEqual([name]);
    });
  });

  can('share', () => {
    test('a share gives a link to the bytes', async () => {
      const { image, bytes } = await at().image();
      const link = (await at().backend.share?.(image, {})) as string;
      expect(URL.canParse(link)).toBe(true);
      expect(await (at().subject.shared ?? fetched)(link)).toEqual(bytes);
    });
  });

  can('remove', () => {
    test('an image that is removed is absent, and its neighbour stays', async () => {
      const collection = at().collection();
      const { image } = await at().image(at().name('one:1', collection));
      const { image: other } = await at().image(at().name('other:1', collection));
      await at().backend.remove?.(image);
      expect(await at().backend.resolve(image.name)).toBeUndefined();
      expect(await at().backend.resolve(other.name)).toBeDefined();
    });

    test('an image that is removed already is no error', async () => {
      const { image } = await at().image();
      await at().backend.remove?.(image);
      await expect(at().backend.remove?.(image)).resolves.toBeUndefined();
    });

    test('a removed image can be stored again', async () => {
      const { image } = await at().image();
      await at().backend.remove?.(image);
      const { bytes } = await at().image(image.name);
      expect(await at().read(await at().resolve(image.name))).toEqual(bytes);
    });
  });

  can('copy', () => {
    test('a copy has the bytes and metadata of the original under its own name', async () => {
      const name = at().name();
      const bytes = content();
      await at().store(name, bytes, { MAINTAINER: 'vanessasaur' });
      const original = await at().resolve(name);
      const to = at().name('copy:2.0');
      const copy = (await at().backend.copy?.(original, to)) as RemoteImage;
      expect(copy).toMatchObject({ name: to, size: original.size });
      expect(await at().read(await at().resolve(to))).toEqual(bytes);
      expect((await at().resolve(to)).annotations).toEqual(original.annotations);
      expect(await at().read(original)).toEqual(bytes);
    });
  });

  can('check', () => {
    test('a check of a service that answers is content', async () => {
      await expect(at().backend.check?.()).resolves.toBeUndefined();
    });
  });
}

async function fetched(link: string): Promise<Buffer> {
  const response = await fetch(link);
  expect(response.status).toBe(200);
  return buffer(Readable.fromWeb(response.body as never));
}
