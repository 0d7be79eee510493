/** Tables of contents of layers: the genuine ones tell what the archive holds, and the hostile ones are refused. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { LRUCache } from 'lru-cache';
import { describe, expect, it, test } from 'vitest';
import { readPiece } from '../../../src/image/assembled.ts';
import { ChunkTable } from '../../../src/image/layers/chunks.ts';
import { LAYER_LIMITS } from '../../../src/image/layers/limits.ts';
import { LayerTree } from '../../../src/image/layers/merge.ts';
import { SpanData } from '../../../src/image/layers/spans.ts';
import { indexTar } from '../../../src/image/layers/tar.ts';
import { parseToc, type TocLayer } from '../../../src/image/layers/toc.ts';
import { markOf, readToc, type TocPlace, tocPlaceOf } from '../../../src/image/layers/toc-place.ts';
import { type ByteSource, bytesSource } from '../../../src/image/source.ts';
import type { DirectoryNode } from '../../../src/image/squashfs/nodes.ts';
import { digestOf, type Layer, tarOf } from '../../servers/layered.ts';
import {
  chunkedOf,
  GENUINE,
  genuineLayer,
  genuineTar,
  type MakeOptions,
  stargzOf,
  type TocItem,
} from '../../servers/toc-layers.ts';

const SIGNAL = new AbortController().signal;
const MAKERS = { eStargz: stargzOf, 'zstd:chunked': chunkedOf } as const;

function placeOf({ annotations = {}, mediaType, blob }: Layer): TocPlace {
  const place = tocPlaceOf(annotations, mediaType, blob.length);
  if (place === undefined) throw new Error('its manifest tells of no table');
  return place;
}

/** The blob has no table. */
class Absent extends Error {}

async function parse(layer: Layer, limits = LAYER_LIMITS): Promise<TocLayer | undefined> {
  const place = placeOf(layer);
  const read = async (offset: number, length: number) => layer.blob.subarray(offset, offset + length);
  const toc = await readToc(place, layer.blob.length, read, 'Layer 1');
  if (toc === 'absent') throw new Absent();
  return toc && parseToc(toc, place.packing, 'Layer 1', limits);
}

function dataOf({ chunks }: TocLayer, blob: Buffer): ByteSource {
  const read = async (offset: number, length: number) =>
    Readable.from([blob.subarray(offset, offset + length)], { objectMode: false });
  const data = new SpanData('layer', chunks, read, new LRUCache({ max: 10 }));
  return { size: chunks.size, read: (offset, length) => buffer(data.stream(offset, length, SIGNAL)) };
}

/** A tree as plain data, each file with the sum of its contents. */
async function told(directory: DirectoryNode, source: ByteSource, path = ''): Promise<object[]> {
  const all: object[] = [];
  for (const [name, { node }] of [...directory.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const at = `${path}/${name}`;
    if (node.type === 'directory') {
      const { type, mode, uid, gid, modified, xattrs } = node;
      all.push({ at, type, mode, uid, gid, modified, xattrs }, ...(await told(node, source, at)));
    } else if (node.type === 'file') {
      const { pieces, ...attributes } = node;
      const hash = createHash('sha256');
      for (const piece of pieces) hash.update(await readPiece(piece, [source]));
      all.push({ at, ...attributes, sum: hash.digest('hex') });
    } else {
      all.push({ at, ...node });
    }
  }
  return all;
}

async function treeOf(layer: TocLayer | undefined, blob: Buffer): Promise<object[]> {
  if (layer === undefined) throw new Error('its table tells too little');
  const tree = new LayerTree(0);
  tree.apply(layer.entries);
  return told(tree.root, dataOf(layer, blob));
}

async function treeOfArchive(tar: Buffer): Promise<object[]> {
  const tree = new LayerTree(0);
  tree.apply(await indexTar(bytesSource(tar), 'Layer 1'));
  return told(tree.root, bytesSource(tar));
}

describe('the table of a genuine layer', () => {
  it.each(GENUINE)('%s tells the tree of its archive, with the same contents', async (name) => {
    const layer = genuineLayer(name);
    const expected = await treeOfArchive(genuineTar());
    expect(expected.length).toBeGreaterThan(55);
    expect(await treeOf(await parse(layer), layer.blob)).toEqual(expected);
  });

  it.each(GENUINE)('%s is kept in bytes and found again the same', async (name) => {
    const layer = genuineLayer(name);
    const parsed = (await parse(layer)) as TocLayer;
    const again = ChunkTable.fromBytes(parsed.chunks.toBytes()) as ChunkTable;
    expect(again.toBytes()).toEqual(parsed.chunks.toBytes());
    const entries = JSON.parse(JSON.stringify(parsed.entries)) as TocLayer['entries'];
    expect(await treeOf({ entries, chunks: again }, layer.blob)).toEqual(await treeOf(parsed, layer.blob));
    expect(ChunkTable.fromBytes(parsed.chunks.toBytes().subarray(1))).toBeUndefined();
  });

  it('leaves the holes that zstd:chunked tells of out of the data', async () => {
    const { entries, chunks } = (await parse(genuineLayer('layer.zst'))) as TocLayer;
    const holes = entries.find(({ path }) => path === 'usr/share/holes');
    expect(holes).toMatchObject({
      size: 228_000,
      ranges: [
        [0, 5000],
        [155_000, 3000],
      ],
    });
    expect(chunks.size).toBeLessThan(450_000);
  });

  it('has a large file at a multiple of the blocks of the cache', async () => {
    const { entries } = (await parse(genuineLayer('layer.esgz'))) as TocLayer;
    expect(entries.find(({ path }) => path === 'usr/share/large')).toMatchObject({ offset: 65_536 });
  });
});

describe.each(Object.entries(MAKERS))('%s', (_, make) => {
  const files = tarOf([
    { path: 'a', data: 'aaaa' },
    { path: 'big', data: Buffer.alloc(30_000, 'the big one ') },
    { path: 'link', type: 'symlink', target: 'a' },
    { path: 'dir/', type: 'directory' },
  ]);
  const parsed = (options: MakeOptions, limits = LAYER_LIMITS) =>
    parse(make(files, { chunkSize: 10_000, ...options }), limits);
  const at = (items: TocItem[], name: string, number = 0) =>
    items.filter((item) => item.name === name)[number] as TocItem;

  test('made here tells the same as the genuine form of the same archive', async () => {
    const layer = make(genuineTar(), { chunkSize: 65_536 });
    const genuine = genuineLayer(make === stargzOf ? 'layer.esgz' : 'layer.zst');
    const tree = await treeOf(await parse(layer), layer.blob);
    expect(tree).toEqual(await treeOf(await parse(genuine), genuine.blob));
  });

  test('a chunk that was damaged is CORRUPT; the others are read', async () => {
    const layer = make(files, { chunkSize: 10_000 });
    const table = (await parse(layer)) as TocLayer;
    const { from, stored } = table.chunks.span(1);
    const damaged = Buffer.from(layer.blob).fill(0, from + stored - 12, from + stored);
    await expect(treeOf(table, damaged)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(Buffer.from(await dataOf(table, damaged).read(0, 4)).toString()).toBe('aaaa');
  });

  test('a chunk with other bytes, well packed, is CORRUPT', async () => {
    const [one, other] = ['aaaa', 'bbbb'].map((data) => make(tarOf([{ path: 'a', data }]))) as [Layer, Layer];
    await expect(treeOf(await parse(one), other.blob)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('does not have its digest'),
    });
  });

  test.each<[string, (items: TocItem[]) => unknown, RegExp]>([
    ['no list', () => ({}), /no list of entries/],
    ['an entry that is none', (items) => [...items, 5], /no list of entries/],
    ['an unknown type', (items) => void Object.assign(at(items, 'a'), { type: 'socket' }), /unknown type/],
    ['a name that is none', (items) => void Object.assign(at(items, 'a'), { name: 7 }), /no usable name/],
    ['a NUL in a name', (items) => void Object.assign(at(items, 'a'), { name: 'a\0b' }), /no usable name/],
    ['a negative size', (items) => void Object.assign(at(items, 'a'), { size: -4 }), /impossible size/],
    [
      'an offset that is none',
      (items) => void Object.assign(at(items, 'a'), { offset: 1e300 }),
      /impossible offset/,
    ],
    [
      'an offset behind the data',
      (items) => void Object.assign(at(items, 'big', 2), { offset: 1e9 }),
      /overlaps/,
    ],
    [
      'two files in one place',
      (items) => void Object.assign(at(items, 'big'), { offset: at(items, 'a').offset }),
      /overlaps/,
    ],
    [
      'an inner offset that overlaps',
      (items) => {
        Object.assign(at(items, 'big'), { offset: at(items, 'a').offset, innerOffset: 3 });
      },
      /overlaps/,
    ],
    [
      'a chunk too many',
      (items) => void Object.assign(at(items, 'big', 2), { chunkSize: 20_000 }),
      /do not make up/,
    ],
    [
      'a chunk too few',
      (items) => items.filter((item) => item !== at(items, 'big', 2)),
      /chunks of 20000 bytes/,
    ],
    [
      'chunks in another order',
      (items) => void Object.assign(at(items, 'big', 1), { chunkOffset: 20_000 }),
      /do not make up/,
    ],
    ['a chunk without a file', (items) => [at(items, 'big', 1), ...items], /does not follow its file/],
    [
      'a chunk of another file',
      (items) => void Object.assign(at(items, 'big', 1), { name: 'a' }),
      /does not follow its file/,
    ],
    [
      'a time that is none',
      (items) => void Object.assign(at(items, 'a'), { modtime: 'yesterday' }),
      /impossible modtime/,
    ],
    [
      'an owner that is none',
      (items) => void Object.assign(at(items, 'a'), { uid: 2 ** 32 }),
      /impossible user/,
    ],
    [
      'an attribute that is none',
      (items) => void Object.assign(at(items, 'a'), { xattrs: { a: '*' } }),
      /extended attributes/,
    ],
    [
      'a device that is none',
      (items) => {
        Object.assign(at(items, 'a'), { type: 'char', devMajor: 5000, size: 0 });
      },
      /impossible device/,
    ],
  ])('a table with %s is refused', async (_what, change, message) => {
    await expect(parsed({ change })).rejects.toMatchObject({
      code: 'NOT_AN_IMAGE',
      message: expect.stringMatching(message),
    });
  });

  test('a table that is not JSON is refused', async () => {
    const text = (json: string) => json.slice(1);
    await expect(parsed({ text })).rejects.toMatchObject({ code: 'NOT_AN_IMAGE' });
  });

  test('a table beyond a limit is refused', async () => {
    const refused = { code: 'NOT_PRESENTABLE' };
    await expect(parsed({}, { ...LAYER_LIMITS, entries: 3 })).rejects.toMatchObject(refused);
    await expect(parsed({}, { ...LAYER_LIMITS, metadata: 300 })).rejects.toMatchObject(refused);
    await expect(parsed({}, { ...LAYER_LIMITS, size: 30_000 })).rejects.toMatchObject(refused);
    const change = (items: TocItem[]) => void Object.assign(at(items, 'big'), { size: 2 ** 41 });
    await expect(parsed({ change })).rejects.toMatchObject(refused);
  });

  test('a name that leads out of the image is refused when the layer is applied', async () => {
    const change = (items: TocItem[]) => void Object.assign(at(items, 'dir/'), { name: '../out/' });
    const { entries } = (await parsed({ change })) as TocLayer;
    expect(() => new LayerTree(0).apply(entries)).toThrow('leads out of the image');
  });

  test.each<[string, MakeOptions]>([
    ['another version', { text: (json) => json.replace('"version":1', '"version":2') }],
    ['a chunk without a digest', { change: (items) => void delete at(items, 'big', 1).chunkDigest }],
    [
      'a digest of another kind',
      { change: (items) => void Object.assign(at(items, 'big', 1), { chunkDigest: 'md5:00' }) },
    ],
    [
      'a name that was not UTF-8',
      { change: (items) => void Object.assign(at(items, 'dir/'), { name: 'caf\ufffd/' }) },
    ],
    [
      'a target that was not UTF-8',
      { change: (items) => void Object.assign(at(items, 'link'), { linkName: '\ud800' }) },
    ],
    [
      'an unknown kind of chunk',
      { change: (items) => void Object.assign(at(items, 'big', 1), { chunkType: 'new' }) },
    ],
    [
      'a chunk that is too large',
      {
        change: (items) => {
          Object.assign(at(items, 'a'), { size: 2 ** 27 });
        },
      },
    ],
  ])('a table with %s tells too little', async (_what, options) => {
    expect(await parsed(options)).toBeUndefined();
  });

  test('a chunk that is the whole file may have the digest of the file alone', async () => {
    const layer = make(files, { change: (items) => items.map(({ chunkDigest: _, ...item }) => item) });
    expect(await treeOf(await parse(layer), layer.blob)).toEqual(await treeOfArchive(files));
  });

  test('a table that was damaged is CORRUPT', async () => {
    const layer = make(files);
    const { annotations = {}, blob } = layer;
    const digests = Object.fromEntries(
      Object.entries(annotations).map(([key, value]) => [
        key,
        value.startsWith('sha256:') ? digestOf(Buffer.from('other')) : value,
      ]),
    );
    await expect(parse({ ...layer, annotations: digests })).rejects.toMatchObject({ code: 'CORRUPT' });
    const mark = markOf(placeOf(layer), blob.length);
    for (let i = 1; i < 400; i += 7) {
      const damaged = Buffer.from(blob);
      const place = damaged.length - i;
      damaged[place] = (damaged[place] as number) ^ 0x41;
      const outcome = await parse({ ...layer, blob: damaged }).catch((error: unknown) => error);
      if (outcome instanceof Absent) {
        expect(place).toBeGreaterThanOrEqual(mark.offset);
        expect(place).toBeLessThan(mark.offset + mark.length);
      } else if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'CORRUPT' });
      else expect(outcome).toEqual(await parse(layer));
    }
  });
});

test('a layer whose table is kept in another image is not read by it', async () => {
  const layer = stargzOf(genuineTar());
  const footer = Buffer.concat([
    Buffer.from('1f8b08040000000000ff150053471100', 'hex'),
    Buffer.from('STARGZEXTERNALTOC'),
    Buffer.from('010000ffff0000000000000000', 'hex'),
  ]);
  expect(
    await parse({ ...layer, blob: Buffer.concat([layer.blob.subarray(0, -51), footer]) }),
  ).toBeUndefined();
});

test('only annotations of the right form tell of a table', () => {
  const zstd = 'application/vnd.oci.image.layer.v1.tar+zstd';
  const gzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
  const { annotations: chunked = {} } = genuineLayer('layer.zst');
  const { annotations: stargz = {} } = genuineLayer('layer.esgz');
  const size = 200_000;
  expect(tocPlaceOf(chunked, zstd, size)).toMatchObject({ packing: 'zstd', range: { offset: 93_913 } });
  expect(tocPlaceOf(stargz, gzip, size)).toMatchObject({ packing: 'gzip' });
  expect(tocPlaceOf(stargz, zstd, size)).toBeUndefined();
  expect(tocPlaceOf(stargz, 'application/vnd.oci.image.layer.v1.tar', size)).toBeUndefined();
  expect(tocPlaceOf(chunked, gzip, size)).toBeUndefined();
  expect(tocPlaceOf(chunked, zstd, 95_000)).toBeUndefined();
  expect(tocPlaceOf(stargz, gzip, 51)).toBeUndefined();
  const position = 'io.github.containers.zstd-chunked.manifest-position';
  for (const wrong of ['', '1:2:3', '1:2:3:2', '-1:2:3:1', '1:2:999999999999:1', '1:0:0:1'])
    expect(tocPlaceOf({ ...chunked, [position]: wrong }, zstd, size)).toBeUndefined();
});
