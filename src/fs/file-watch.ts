import { stat } from 'node:fs/promises';

/** Tells whether a file was changed, replaced, made or removed since it was last asked. */
export class FileWatch {
  readonly #path: string;
  #seen: Promise<string>;

  constructor(path: string) {
    this.#path = path;
    this.#seen = identityOf(path);
  }

  async hasChanged(): Promise<boolean> {
    const before = this.#seen;
    this.#seen = identityOf(this.#path);
    return (await before) !== (await this.#seen);
  }
}

/** Another text for each state of a file. */
async function identityOf(path: string): Promise<string> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats === undefined ? '' : [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');
}
