/** The job of index-toc.ts. */
import { zstdCompressSync } from 'node:zlib';
import { moved } from '../../base/moved.ts';
import type { IndexedToc, TocWork } from './index-toc.ts';
import { packEntries } from './packed-entries.ts';
import { parseToc } from './toc.ts';

export function run({ toc: { json, offset }, packing, name }: TocWork): IndexedToc | undefined {
  const bytes = Buffer.from(json.buffer, json.byteOffset, json.length);
  const layer = parseToc({ json: bytes, offset }, packing, name);
  if (layer === undefined) return undefined;
  const entries = packEntries(layer.entries);
  const chunks = new Uint8Array(zstdCompressSync(layer.chunks.toBytes()));
  return moved({ entries, chunks }, entries.buffer, chunks.buffer);
}
