/**
 * Reads random and damaged layers: whatever the bytes are, reading them and making an image of them ends soon, with an image that
 * holds the merged tree, or a SregistryError. Run by hand for as long as wanted, one process a core, each with its own seed:
 *
 *     node test/fuzz/layers.ts --minutes 30 --seed 1
 *
 * A failure prints the seed of its input; `--seed THAT --inputs 1` repeats it. test/image/layers/fuzz.test.ts runs some
 * hundred inputs, and holds those that are valid to what other programs make of them.
 */
import { deepStrictEqual } from 'node:assert/strict';
import { Assembler, assembledSource } from '../../src/image/assembled.ts';
import { addContainerFiles } from '../../src/image/layers/container.ts';
import type { LayerEntry } from '../../src/image/layers/entry.ts';
import { LAYER_LIMITS, type LayerLimits } from '../../src/image/layers/limits.ts';
import { LayerTree } from '../../src/image/layers/merge.ts';
import { indexTar, TarIndexer } from '../../src/image/layers/tar.ts';
import { type ByteSource, bytesSource } from '../../src/image/source.ts';
import { describeSquashFs } from '../../src/image/squashfs/describe.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { type FileNode, sizeOfPieces, type TreeNode } from '../../src/image/squashfs/nodes.ts';
import { archiveOf, BLOCK, header, paxRecords, randomEntries, sealed, special } from './archives.ts';
import { type FuzzResult, fuzzByHand, fuzzWith, type Random } from './run.ts';

/** Small ones, so that inputs of some kilobytes reach them. A sparse file of 1 GiB is 8,192 blocks. */
const LIMITS: LayerLimits = { ...LAYER_LIMITS, entries: 200, metadata: 256 * 1024, fileSize: 2 ** 30 };
/** Bytes of a file that are compared. */
const COMPARED = 1_000_000;

/** Layers of an image, valid by the format: some of them cannot be applied. */
export function randomLayers(pick: Random): Buffer[] {
  const known: string[] = [];
  return Array.from({ length: 1 + pick(3) }, () => archiveOf(randomEntries(pick, known), pick));
}

/** Reads the entries of an archive in chunks of any size, and by its headers alone: both must agree. */
export async function indexBoth(archive: Buffer, pick: Random): Promise<readonly LayerEntry[]> {
  const largest = [1, 100, 700, 100_000][pick(4)] as number;
  const outcome = async (read: () => Promise<readonly LayerEntry[]> | readonly LayerEntry[]) => {
    try {
      return { entries: await read() };
    } catch (error) {
      return { error: error as Error };
    }
  };
  const streamed = await outcome(() => {
    const indexer = new TarIndexer('Layer 1', LIMITS);
    for (let at = 0; at < archive.length; ) {
      const size = 1 + pick(largest);
      indexer.push(archive.subarray(at, at + size));
      at += size;
    }
    return indexer.end();
  });
  const placed = await outcome(() => indexTar(bytesSource(archive), 'Layer 1', LIMITS));
  deepStrictEqual(placed.error?.message, streamed.error?.message);
  deepStrictEqual(placed.entries, streamed.entries);
  if (streamed.error !== undefined) throw streamed.error;
  return streamed.entries as readonly LayerEntry[];
}

/** Damages an archive: a field of a header with or without a right checksum, any bytes, blocks moved, doubled or left out. */
function damage(original: Buffer, pick: Random): Buffer {
  const bytes = Buffer.from(original);
  const blocks = Math.floor(bytes.length / BLOCK);
  const block = () => BLOCK * pick(Math.max(1, blocks));
  for (let left = 1 + pick(4); left > 0 && bytes.length >= 2 * BLOCK; left--) {
    const at = block();
    switch (pick(6)) {
      case 0:
        bytes[pick(bytes.length)] = pick(256);
        break;
      case 1:
      case 2: {
        const field = FIELDS[pick(FIELDS.length)] as number;
        const text = VALUES[pick(VALUES.length)] as string;
        bytes.write(text, at + field, Math.min(text.length, BLOCK - field), 'latin1');
        sealed(bytes.subarray(at, at + BLOCK));
        break;
      }
      case 3:
        bytes.copy(bytes, block(), at, at + BLOCK);
        break;
      case 4:
        bytes.fill(0, at, at + BLOCK);
        break;
      default:
        return inserted(bytes, at, pick);
    }
  }
  return pick(6) === 0 ? bytes.subarray(0, pick(bytes.length + 1)) : bytes;
}

/** Where the fields of a header begin: name, mode, owner, size, time, type, link, magic, device, prefix, GNU's sparse map. */
const FIELDS = [0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 337, 345, 386, 398, 410, 482, 483, 508];
const VALUES = [
  '',
  '\0',
  '0',
  'S',
  'x',
  'g',
  'L',
  'K',
  'V',
  '\x80',
  '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff',
  '\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff',
  '77777777777\0',
  '00000000001\0',
  '00010000000\0',
  '-1',
  '        ',
  '../../x',
  '.wh.a',
  'ustar  \0',
  'ustar\x0000',
  'tar\0',
];

/** Something that speaks of the next entry, put in front of what is at `at`: maps of sparse files, sizes, names. */
function inserted(bytes: Buffer, at: number, pick: Random): Buffer {
  const number = () =>
    ['0', '1', '5', '511', '512', '1000000', '1099511627776', '-1', 'x', ''][pick(10)] as string;
  const numbers = Array.from({ length: pick(6) }, number);
  const records: [string, string][] = [
    [
      ['path', 'size', 'linkpath', 'mtime', 'uid', 'GNU.sparse.name', 'SCHILY.xattr.user.x'][
        pick(7)
      ] as string,
      number(),
    ],
    ['GNU.sparse.major', number()],
    ['GNU.sparse.size', number()],
    ['GNU.sparse.realsize', number()],
    ['GNU.sparse.map', numbers.join(',')],
    ['GNU.sparse.offset', number()],
    ['GNU.sparse.numbytes', number()],
  ];
  const chosen = records.filter(() => pick(2) === 0);
  const data = pick(4) === 0 ? Buffer.from(numbers.join('\n')) : paxRecords(chosen);
  const type = ['x', 'x', 'x', 'g', 'L', 'K'][pick(6)] as string;
  const map = Buffer.concat([Buffer.from(`${numbers.join('\n')}\n`), Buffer.alloc(BLOCK)]).subarray(0, BLOCK);
  const file = { path: 'sparse', type: 'S', target: '', mode: 0, uid: 0, gid: 0, modified: 0, data: map };
  const more = pick(3) === 0 ? [header(file, 'gnu', pick), map] : [];
  return Buffer.concat([bytes.subarray(0, at), special(type, data), ...more, bytes.subarray(at)]);
}

/** One input: layers, most of them damaged, as an image that is read again. */
async function readLayers(pick: Random): Promise<void> {
  const isDamaged = pick(4) > 0;
  const archives = randomLayers(pick).map((layer) => (isDamaged ? damage(layer, pick) : layer));
  const tree = new LayerTree(0, LIMITS);
  for (const archive of archives) tree.apply(await indexBoth(archive, pick));
  if (pick(2) === 0) addContainerFiles(tree, { Env: ['A=1'] }, { modified: 0, architecture: 'amd64' });
  const sizes = archives.map(({ length }) => length);
  const sources = archives.map((archive) => bytesSource(archive));
  const image = assembledSource(describeSquashFs(tree.root, sizes, 0), sources);
  deepStrictEqual(await found(image), await wanted(tree, sources));
}

interface Shown {
  readonly path: string;
  readonly type: string;
  readonly mode: number;
  readonly modified: number;
  readonly content?: string;
}

/** What our own reader finds in the image. */
async function found(image: ByteSource): Promise<Shown[]> {
  const shown: Shown[] = [];
  const squash = await SquashFs.open(image);
  for await (const { path, type, mode, size, modified, target } of squash.walk('/')) {
    const isRead = type === 'file' && size <= COMPARED && !path.includes('\ufffd');
    const bytes = isRead ? await readAt(squash, path) : undefined;
    shown.push({
      path,
      type,
      mode,
      modified: modified.getTime() / 1000,
      content: target ?? (type === 'file' ? (bytes ?? String(size)) : undefined),
    } as Shown);
  }
  return shown;
}

async function readAt(squash: SquashFs, path: string): Promise<string | undefined> {
  const bytes = await squash.readFile(path, COMPARED);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('latin1');
}

/** The tree in the order of an image. */
async function wanted(tree: LayerTree, sources: readonly ByteSource[]): Promise<Shown[]> {
  const shown: Shown[] = [];
  const visit = async (node: TreeNode, path: string): Promise<void> => {
    const { type, mode } = node;
    const modified = Math.max(0, Math.min(2 ** 32 - 1, node.modified));
    const content =
      node.type === 'symlink'
        ? text(node.target)
        : node.type === 'file'
          ? await contentOf(node, path, sources)
          : undefined;
    shown.push({ path: path === '' ? '/' : path, type, mode, modified, content } as Shown);
    if (node.type !== 'directory') return;
    const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [name, { node: child }] of entries) await visit(child, `${path}/${text(name)}`);
  };
  await visit(tree.root, '');
  return shown;
}

const text = (bytes: string) => Buffer.from(bytes, 'latin1').toString();

async function contentOf(node: FileNode, path: string, sources: readonly ByteSource[]): Promise<string> {
  const size = sizeOfPieces(node.pieces);
  if (size > COMPARED || path.includes('\ufffd')) return String(size);
  const whole = new Assembler();
  for (const piece of node.pieces) whole.add(piece);
  const bytes = await assembledSource(whole.finish(), sources).read(0, size);
  return Buffer.from(bytes).toString('latin1');
}

/** Reads `inputs` images, or until `deadline` (milliseconds since the epoch). */
export function fuzz(seed: number, inputs: number, deadline?: number): Promise<FuzzResult> {
  return fuzzWith(readLayers, seed, inputs, deadline);
}

if (import.meta.main) await fuzzByHand(fuzz);
