/**
 * Reads the table of contents of a layer (toc-place.ts): JSON with an entry for each file of the archive, and for each further chunk
 * of a large file (stargz-snapshotter, docs/estargz.md, "TOC, TOCEntries and Footer"; containers/storage,
 * pkg/chunked/internal/minimal/compression.go).
 *
 * The table does not say where a file is in the archive. So the data of such a layer are not the archive, but the contents of its
 * files, one behind the other in the order in which the blob has them. A file of {@link ALIGNED} bytes or more begins at a multiple of that,
 * so that it shares no block of the cache with another file. Chunks of zeros are left out, and the file is sparse.
 */
import { malformed } from '../binary.ts';
import { type Chunk, ChunkTable, type Packing } from './chunks.ts';
import type { FileEntry, LayerEntry, SparseRange } from './entry.ts';
import { beyondLimit, LAYER_LIMITS, type LayerLimits } from './limits.ts';
import { InsufficientToc, type TocItem, tocNumber, tocText, toLayerEntry } from './toc-entry.ts';
import type { Toc } from './toc-place.ts';

/** What the table tells. */
export interface TocLayer {
  /** In the table's order. `offset` of a file is its place in the chunks' data. */
  readonly entries: readonly LayerEntry[];
  readonly chunks: ChunkTable;
}

/** Bytes of a block of the cache. Another number would give other bytes for the same layer. */
const ALIGNED = 64 * 1024;
/** Bytes of a member or frame that are decompressed in memory. Tools make chunks of 4 MiB at most; old ones made a frame for each file. */
const MAX_UNPACKED = 64 * 1024 * 1024;
/**
 * Bytes that a member or frame of so many bytes takes at most: what is not its own may lie behind it. Compressors write at most some
 * bytes for each 16 KiB that they cannot compress.
 */
const maxStored = (unpacked: number) => unpacked * 2 + ALIGNED;
/** What an entry counts for beyond its strings. */
const ENTRY_COST = 64;
const DIGEST = /^sha256:([0-9a-f]{64})$/;
/** Files that eStargz adds to the archive for itself. */
const OWN_FILES: ReadonlySet<string> = new Set([
  'stargz.index.json',
  '.prefetch.landmark',
  '.no.prefetch.landmark',
]);

/**
 * What the table says; undefined if it tells too little to read the layer by it: if it lacks digests, has names that are not UTF-8
 * (JSON cannot hold them), or chunks that are too large to be compared before they are read.
 * @param name names the layer in errors.
 * @throws {SregistryError} NOT_AN_IMAGE if the table contradicts itself, NOT_PRESENTABLE if it goes beyond a limit.
 */
export function parseToc(
  { json, offset }: Toc,
  packing: Packing,
  name: string,
  limits: LayerLimits = LAYER_LIMITS,
): TocLayer | undefined {
  try {
    const reader = new TocReader(packing, name, limits);
    for (const item of itemsOf(json, name)) reader.add(item);
    return reader.end(offset);
  } catch (error) {
    if (error instanceof InsufficientToc) return undefined;
    throw error;
  }
}

function itemsOf(json: Buffer, name: string): readonly TocItem[] {
  let value: unknown;
  try {
    value = JSON.parse(json.toString());
  } catch (cause) {
    throw malformed(`The table of contents of ${name} is not JSON`, cause);
  }
  const { version, entries } = (value ?? {}) as TocItem;
  if (version !== 1) throw new InsufficientToc();
  const isObject = (item: unknown): item is TocItem => typeof item === 'object' && item !== null;
  if (!Array.isArray(entries) || !entries.every(isObject))
    throw malformed(`The table of contents of ${name} has no list of entries`);
  return entries;
}

/** A range of a file. */
interface Piece {
  /** Place in the file, and bytes. */
  readonly at: number;
  readonly length: number;
  /** Where it is in the blob; undefined for zeros. */
  readonly stored: Pick<Chunk, 'from' | 'inner' | 'digest'> | undefined;
}

/** A file that is not empty. */
interface TocFile {
  readonly entry: FileEntry;
  /** Of the entry. */
  readonly index: number;
  /** Sorted. */
  readonly pieces: Piece[];
  /** The digest of the whole file, as the table has it: that of its only chunk. */
  readonly digest: unknown;
  /** Where its last chunk ends in the blob; 0 if the table does not say. */
  readonly end: number;
}

class TocReader {
  readonly #packing: Packing;
  readonly #name: string;
  readonly #limits: LayerLimits;
  readonly #entries: LayerEntry[] = [];
  readonly #files: TocFile[] = [];
  /** The file to which a chunk that comes next belongs. */
  #last: TocFile | undefined;
  #metadata = 0;
  #item: TocItem = {};
  /** Names the entry that is being read. */
  readonly #where = () => `${this.#name}: ${show(this.#item.name)}`;

  constructor(packing: Packing, name: string, limits: LayerLimits) {
    this.#packing = packing;
    this.#name = name;
    this.#limits = limits;
  }

  add(item: TocItem): void {
    this.#item = item;
    const path = tocText(item, 'name', this.#where);
    if (item.type === 'chunk') {
      if (this.#last?.entry.path !== path)
        throw malformed(`${this.#where()} has a chunk that does not follow its file`);
      this.#count(ENTRY_COST);
      this.#addPiece(this.#last, item);
      return;
    }
    this.#endFile();
    if (this.#packing === 'gzip' && OWN_FILES.has(path.replace(/^(\.?\/)+/, ''))) return;
    const entry = toLayerEntry(item, path, this.#where, this.#limits);
    const xattrs = Object.entries(entry.xattrs ?? {}).reduce(
      (sum, [key, { length }]) => sum + key.length + length,
      0,
    );
    this.#count(ENTRY_COST + path.length + ('target' in entry ? entry.target.length : 0) + xattrs);
    if (this.#entries.length >= this.#limits.entries)
      throw beyondLimit(`${this.#name} has more than ${this.#limits.entries} entries`);
    this.#entries.push(entry);
    if (entry.type !== 'file' || entry.size === 0) return;
    const end = tocNumber(item, 'endOffset', this.#where);
    this.#last = { entry, index: this.#entries.length - 1, pieces: [], digest: item.digest, end };
    this.#addPiece(this.#last, item);
  }

  /** @param dataEnd where the blob's chunks end. */
  end(dataEnd: number): TocLayer {
    this.#endFile();
    const chunks: PlacedChunk[] = [];
    let size = 0;
    for (const file of this.#files.sort(byPlaceInBlob)) {
      if (storedIn(file.pieces) >= ALIGNED) size = Math.ceil(size / ALIGNED) * ALIGNED;
      this.#entries[file.index] = placed(file, size);
      for (const { length, stored } of file.pieces) {
        if (stored === undefined) continue;
        chunks.push({ at: size, length, ...stored, file });
        size += length;
      }
    }
    if (size > this.#limits.size) throw beyondLimit(`${this.#name} has more than ${this.#limits.size} bytes`);
    return {
      entries: this.#entries,
      chunks: ChunkTable.of(this.#packing, size, this.#bounded(chunks, dataEnd)),
    };
  }

  #addPiece({ entry, pieces, digest }: TocFile, item: TocItem): void {
    const last = pieces.at(-1);
    const at = tocNumber(item, 'chunkOffset', this.#where);
    const length = tocNumber(item, 'chunkSize', this.#where) || entry.size - at;
    if (at !== (last === undefined ? 0 : last.at + last.length) || length <= 0 || at + length > entry.size)
      throw malformed(`${this.#where()} has chunks that do not make up the file`);
    if (item.chunkType === 'zeros') {
      pieces.push({ at, length, stored: undefined });
      return;
    }
    const [from, inner] = [
      tocNumber(item, 'offset', this.#where),
      tocNumber(item, 'innerOffset', this.#where),
    ];
    const stated = item.chunkDigest || (length === entry.size ? digest : undefined);
    const [, hex] = DIGEST.exec(String(stated)) ?? [];
    const isKnown = (item.chunkType ?? '') === '' && hex !== undefined;
    if (!isKnown || inner + length > MAX_UNPACKED) throw new InsufficientToc();
    pieces.push({ at, length, stored: { from, inner, digest: Buffer.from(hex, 'hex') } });
  }

  #endFile(): void {
    const file = this.#last;
    this.#last = undefined;
    if (file === undefined) return;
    const { at, length } = file.pieces.at(-1) as Piece;
    if (at + length !== file.entry.size)
      throw malformed(
        `${this.#name}: ${show(file.entry.path)} has chunks of ${at + length} bytes, not ${file.entry.size}`,
      );
    this.#files.push(file);
  }

  /** The chunks with their bytes in the blob: up to where the next member or frame begins. */
  #bounded(chunks: readonly PlacedChunk[], dataEnd: number): Chunk[] {
    const bounded: Chunk[] = [];
    let [next, stored] = [dataEnd, 0];
    let after: PlacedChunk | undefined;
    for (const chunk of [...chunks].reverse()) {
      const { file, ...kept } = chunk;
      const unpacked = chunk.inner + chunk.length;
      const isShared = after?.from === chunk.from;
      if (isShared ? unpacked > (after as PlacedChunk).inner : chunk.from >= next)
        throw malformed(`${this.#name}: ${show(file.entry.path)} overlaps what follows it in the layer`);
      if (!isShared) {
        const isLast = file !== after?.file;
        const end = isLast && file.end > chunk.from ? Math.min(file.end, next) : next;
        stored = Math.min(end - chunk.from, maxStored(unpacked));
        next = chunk.from;
      }
      bounded.push({ ...kept, stored });
      after = chunk;
    }
    return bounded.reverse();
  }

  #count(bytes: number): void {
    this.#metadata += bytes;
    if (this.#metadata > this.#limits.metadata)
      throw beyondLimit(`${this.#name} has more than ${this.#limits.metadata} bytes of names and attributes`);
  }
}

/** A chunk and the file that it is of. */
type PlacedChunk = Omit<Chunk, 'stored'> & { readonly file: TocFile };

/** The order of files in the blob. Those that have nothing there come last. */
function byPlaceInBlob(one: TocFile, other: TocFile): number {
  const [a, b] = [firstStored(one), firstStored(other)];
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  return a.from - b.from || a.inner - b.inner;
}

function firstStored({ pieces }: TocFile): Piece['stored'] {
  return pieces.find(({ stored }) => stored !== undefined)?.stored;
}

function storedIn(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { length, stored }) => sum + (stored === undefined ? 0 : length), 0);
}

/** The entry of a file whose stored pieces begin at `offset` of the data. */
function placed({ entry, pieces }: TocFile, offset: number): FileEntry {
  if (pieces.every(({ stored }) => stored !== undefined)) return { ...entry, offset };
  const ranges: SparseRange[] = [];
  for (const { at, length, stored } of pieces) {
    const last = ranges.at(-1);
    if (stored === undefined) continue;
    if (last !== undefined && last[0] + last[1] === at)
      ranges[ranges.length - 1] = [last[0], last[1] + length];
    else ranges.push([at, length]);
  }
  return { ...entry, offset, ranges };
}

function show(name: unknown): string {
  return JSON.stringify(String(name).slice(0, 200));
}
