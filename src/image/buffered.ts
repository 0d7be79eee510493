/**
 * A source in front of a slow one. It reads and keeps whole pages, so that many small reads of headers and tables become few
 * requests.
 */
import { LRUCache } from 'lru-cache';
import type { ByteSource } from './source.ts';

/** Bytes of a page: enough for a SIF's header, descriptors, definition file and metadata in one request. */
const PAGE_SIZE = 64 * 1024;
/** Pages to keep: 4 MiB in all. */
const MAX_PAGES = 64;

/** Pages of `source`, each fetched once while it stays in the cache; missing neighbours come in one read. */
export function bufferedSource(source: ByteSource): ByteSource {
  const pages = new LRUCache<number, Uint8Array>({ max: MAX_PAGES });

  const fetch = async (first: number, last: number): Promise<Uint8Array[]> => {
    const bytes = await source.read(first * PAGE_SIZE, (last - first + 1) * PAGE_SIZE);
    const fetched: Uint8Array[] = [];
    for (let page = first; page <= last; page++) {
      const start = (page - first) * PAGE_SIZE;
      // A copy, so that one page does not keep the whole read alive.
      const part = bytes.slice(start, start + PAGE_SIZE);
      pages.set(page, part);
      fetched.push(part);
    }
    return fetched;
  };

  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const end = Math.min(offset + length, source.size);
    if (end <= offset) return new Uint8Array(0);
    const [first, last] = [Math.floor(offset / PAGE_SIZE), Math.floor((end - 1) / PAGE_SIZE)];
    if (last - first >= MAX_PAGES) return source.read(offset, length);
    const parts: Uint8Array[] = [];
    for (let page = first; page <= last; ) {
      const cached = pages.get(page);
      if (cached !== undefined) {
        parts.push(cached);
        page++;
        continue;
      }
      let gap = page;
      while (gap < last && !pages.has(gap + 1)) gap++;
      parts.push(...(await fetch(page, gap)));
      page = gap + 1;
    }
    const joined = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
    return joined.subarray(offset - first * PAGE_SIZE, end - first * PAGE_SIZE);
  };

  return { size: source.size, read };
}
