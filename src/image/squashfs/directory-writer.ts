/** Writes directory listings (directory.ts reads them), and the index that lets the kernel skip most of a long one. */

import { MAX_RUN } from './directory.ts';
import { METADATA_SIZE } from './metadata.ts';
import { FieldWriter, type MetadataWriter, type Place } from './metadata-writer.ts';

/** One name of a directory: its inode's place, number and type (the number of the basic type, whatever the inode's form). */
export interface ListedEntry {
  readonly name: string;
  readonly place: Place;
  readonly number: number;
  readonly type: number;
}

export interface WrittenListing {
  readonly place: Place;
  /** Bytes of the listing. */
  readonly size: number;
  /** Entries for the directory's inode, see {@link IndexEntry}; none in a short listing. */
  readonly index: readonly IndexEntry[];
}

/** A run that begins `offset` bytes into the listing, with `name`, in the metadata block at `block` of the stream. */
export interface IndexEntry {
  readonly offset: number;
  readonly block: number;
  readonly name: string;
}

/** A run's entries store how far their number is from the first one's, in 16 bits with a sign. */
const MAX_DELTA = 32767;

export class DirectoryWriter {
  readonly #stream: MetadataWriter;
  readonly #fields = new FieldWriter();

  constructor(stream: MetadataWriter) {
    this.#stream = stream;
  }

  /** @param entries in order of their names. */
  write(entries: readonly ListedEntry[]): WrittenListing {
    const runs = this.#encode(entries);
    const listing = this.#fields.bytes;
    const place = this.#stream.place;
    const index: IndexEntry[] = [];
    let done = 0;
    let indexed = 0;
    for (const { offset, end, name } of runs) {
      // About one index entry for a metadata block: the run that would begin in the next one.
      if (end - indexed > METADATA_SIZE && offset > indexed) {
        this.#stream.append(listing.subarray(done, offset));
        index.push({ offset, block: this.#stream.place.block, name });
        done = offset;
        indexed = offset;
      }
    }
    this.#stream.append(listing.subarray(done));
    return { place, size: listing.length, index };
  }

  /** Runs of entries whose inodes are in one metadata block. */
  #encode(entries: readonly ListedEntry[]) {
    const fields = this.#fields.clear();
    const runs: { offset: number; end: number; name: string }[] = [];
    let first: ListedEntry | undefined;
    let count = 0;
    for (const entry of entries) {
      if (
        first === undefined ||
        count === MAX_RUN ||
        entry.place.block !== first.place.block ||
        Math.abs(entry.number - first.number) > MAX_DELTA
      ) {
        first = entry;
        count = 0;
        runs.push({ offset: fields.length, end: 0, name: entry.name });
        fields.u32(0).u32(entry.place.block).u32(entry.number);
      }
      const run = runs[runs.length - 1] as (typeof runs)[number];
      fields
        .u16(entry.place.offset)
        .u16(entry.number - first.number)
        .u16(entry.type);
      fields.u16(entry.name.length - 1).text(entry.name);
      fields.patchU32(run.offset, count++);
      run.end = fields.length;
    }
    return runs;
  }
}
