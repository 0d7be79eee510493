/** The index of a layer as compressed bytes: what the catalog keeps of it, and what goes from thread to thread. */
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { LayerEntry } from './entry.ts';

/** Number of the form. A change of what the reader of archives gives changes it. */
export const ENTRIES_FORMAT = 2;
/** Entries that become text at a time. */
const BATCH = 10_000;
const NEWLINE = 0x0a;

/** Bytes of a buffer of their own. */
export function packEntries(entries: readonly LayerEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Buffer[] = [];
  for (let i = 0; i < entries.length; i += BATCH) {
    const lines = entries.slice(i, i + BATCH).map((entry) => `${JSON.stringify(entry)}\n`);
    parts.push(Buffer.from(lines.join('')));
  }
  return new Uint8Array(zstdCompressSync(Buffer.concat(parts)));
}

/** In their order, each made when it is asked for. */
export function* unpackEntries(packed: Uint8Array): Generator<LayerEntry> {
  const lines = zstdDecompressSync(packed);
  for (let at = 0; at < lines.length; ) {
    const end = lines.indexOf(NEWLINE, at);
    yield JSON.parse(lines.toString('utf8', at, end)) as LayerEntry;
    at = end + 1;
  }
}
