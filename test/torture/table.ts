/**
 * The list of contents that tags may have, as a file: the coordinator adds a line before a write begins, and readers look at it
 * after each open. So whatever a reader finds in an open file is either on its list or wrong.
 */
import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { Content } from './content.ts';

interface Line {
  readonly tag: string;
  readonly content: Content;
}

export class TableWriter {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    writeFileSync(path, '');
  }

  add(tag: string, content: Content): void {
    appendFileSync(this.path, `${JSON.stringify({ tag, content } satisfies Line)}\n`);
  }
}

export class TableReader {
  readonly #path: string;
  readonly #byTag = new Map<string, Content[]>();
  #size = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** What the tag may be by now. */
  contentsOf(tag: string): readonly Content[] {
    this.#load();
    return this.#byTag.get(tag) ?? [];
  }

  #load(): void {
    if (statSync(this.#path).size === this.#size) return;
    const text = readFileSync(this.#path);
    const end = text.lastIndexOf(10) + 1;
    for (const line of text.toString('utf8', this.#size, end).split('\n').filter(Boolean)) {
      const { tag, content } = JSON.parse(line) as Line;
      const known = this.#byTag.get(tag);
      if (known === undefined) this.#byTag.set(tag, [content]);
      else known.push(content);
    }
    this.#size = end;
  }
}
