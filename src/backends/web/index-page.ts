/**
 * Parses a web server's index of a folder: an HTML page of links (nginx, Apache, Caddy, lighttpd and others), or JSON (nginx's
 * `autoindex_format json`, Caddy's `browse`). Only names are used: on pages, sizes are rounded and times are in the server's time zone.
 */
import { Parser } from 'htmlparser2';
import type { BufferedResponse } from '../http.ts';

export interface IndexEntry {
  readonly kind: 'folder' | 'file';
  readonly name: string;
}

/** The entries of a folder, each once; undefined if the answer is not an index. */
export function parseIndex(reply: BufferedResponse): IndexEntry[] | undefined {
  const type = reply.headers['content-type'] ?? '';
  if (/^application\/json\b/i.test(type)) return distinct(fromJson(reply.json()));
  if (/^(text\/html|application\/xhtml\+xml)\b/i.test(type))
    return distinct(fromPage(reply.text(), reply.url));
  return undefined;
}

function fromPage(html: string, page: URL): IndexEntry[] {
  const entries: IndexEntry[] = [];
  const parser = new Parser({
    onopentag(tag, { href }) {
      const entry = tag === 'a' && href !== undefined ? entryOf(href, page) : undefined;
      if (entry !== undefined) entries.push(entry);
    },
  });
  parser.end(html);
  return entries;
}

/** The entry that a link leads to, if it lies directly in the folder; undefined for the parent and for re-sorted views of the page. */
function entryOf(href: string, page: URL): IndexEntry | undefined {
  const url = URL.parse(href, page.href);
  const folder = page.pathname.slice(0, page.pathname.lastIndexOf('/') + 1);
  if (url?.origin !== page.origin || url.search !== '' || !url.pathname.startsWith(folder)) return undefined;
  const [, name, slash] = /^([^/]+)(\/?)$/.exec(url.pathname.slice(folder.length)) ?? [];
  const decoded = name === undefined ? undefined : decode(name);
  return decoded === undefined ? undefined : { kind: slash === '' ? 'file' : 'folder', name: decoded };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** nginx sends `[{ "name": "hello.sif", "type": "file" }]`. Caddy sends `is_dir` instead of `type`, and a slash after a folder's name. */
function fromJson(value: unknown): IndexEntry[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: Record<string, unknown> | null) => {
    if (typeof item?.name !== 'string') return [];
    const isFolder = item.type === 'directory' || item.is_dir === true;
    return [{ kind: isFolder ? 'folder' : 'file', name: item.name.replace(/\/$/, '') } as const];
  });
}

/** Removes duplicates: the icon and the name often link to the same entry. */
function distinct(entries: readonly IndexEntry[]): IndexEntry[] {
  return [...new Map(entries.map((entry) => [`${entry.kind} ${entry.name}`, entry])).values()];
}
