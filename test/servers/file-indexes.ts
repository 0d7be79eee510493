/** Indexes of folders, as nginx 1.22, Apache 2.4 and Caddy 2.6 make them. */
import type { Stats } from 'node:fs';
import { dirname } from 'node:path';

export interface Listed {
  readonly name: string;
  readonly stats: Stats;
}

/** A folder's index, and its type. */
type Index = (pathname: string, entries: readonly Listed[]) => readonly [type: string, body: string];

export const INDEXES = {
  nginx: (pathname, entries) => {
    const lines = entries.map((entry) => `${link(entry, encoded)}      22-Nov-2026 14:36      10\r\n`);
    return [
      'text/html',
      `<html>\r\n<head><title>Index of ${pathname}</title></head>\r\n<body>\r\n<h1>Index of ${pathname}</h1><hr>` +
        `<pre><a href="../">../</a>\r\n${lines.join('')}</pre><hr></body>\r\n</html>\r\n`,
    ];
  },
  apache: (pathname, entries) => {
    const rows = entries.map((entry) => `<tr><td>&nbsp;</td><td>${link(entry, relative)}</td></tr>\n`);
    return [
      'text/html;charset=UTF-8',
      '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">\n' +
        `<html>\n <head>\n  <title>Index of ${pathname}</title>\n </head>\n <body>\n  <table>\n` +
        '   <tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>\n' +
        `<tr><td><a href="${dirname(pathname)}">Parent Directory</a></td></tr>\n${rows.join('')}</table>\n</body></html>\n`,
    ];
  },
  nginxJson: (_pathname, entries) => {
    const items = entries.map(({ name, stats }) => {
      const mtime = stats.mtime.toUTCString();
      return stats.isDirectory()
        ? { name, type: 'directory', mtime }
        : { name, type: 'file', mtime, size: stats.size };
    });
    return ['application/json', JSON.stringify(items)];
  },
  caddyJson: (_pathname, entries) => {
    const items = entries.map(({ name, stats }) => ({
      name: stats.isDirectory() ? `${name}/` : name,
      size: stats.size,
      url: relative(name),
      mod_time: stats.mtime.toISOString(),
      is_dir: stats.isDirectory(),
    }));
    return ['application/json', JSON.stringify(items)];
  },
} satisfies Record<string, Index>;

function link({ name, stats }: Listed, hrefOf: (name: string) => string): string {
  const slash = stats.isDirectory() ? '/' : '';
  return `<a href="${hrefOf(name)}${slash}">${name}${slash}</a>`;
}

const encoded = encodeURIComponent;

/** Colons stay, and `./` says that what is before them is no scheme. */
function relative(name: string): string {
  return `./${encodeURIComponent(name).replaceAll('%3A', ':')}`;
}
