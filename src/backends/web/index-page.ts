/**
 * What is in a folder of a web server, from the index that the server makes of it: a page whose links lead there
 * (nginx, Apache, Caddy, lighttpd and others), or JSON where the server offers that (nginx's `autoindex_format json`,
 * Caddy's `browse`). Only names are taken: times and sizes on pages are rounded, and in the server's own time zone.
 */
import { Parser } from 'htmlparser2';
import type { BufferedResponse } from '../http.ts';

export interface IndexEntry {
  readonly kind: 'folder' | 'file';
  readonly name: string;
}

/** The entries of a folder, each once; undefined where the answer is no index. */
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

/** What a link stands for, if that is right below the page: not its parent, not the same page sorted another way. */
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

/** `[{ "name": "hello.sif", "type": "file" }]` of nginx; Caddy has `is_dir` for `type`, and a slash after a folder's name. */
function fromJson(value: unknown): IndexEntry[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: Record<string, unknown> | null) => {
    if (typeof item?.name !== 'string') return [];
    const isFolder = item.type === 'directory' || item.is_dir === true;
    return [{ kind: isFolder ? 'folder' : 'file', name: item.name.replace(/\/$/, '') } as const];
  });
}

/** A picture and a name often link to the same thing. */
function distinct(entries: readonly IndexEntry[]): IndexEntry[] {
  return [...new Map(entries.map((entry) => [`${entry.kind} ${entry.name}`, entry])).values()];
}
