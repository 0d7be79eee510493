/**
 * One image revision on local disk: a sparse data file, the map of the blocks in it, and `entry.json`, which says for
 * people and for a lost index what the bytes belong to. Nothing here knows where bytes come from.
 */
import {
  closeSync,
  constants,
  fdatasync,
  mkdirSync,
  openSync,
  read,
  renameSync,
  write,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SregistryError } from '../base/errors.ts';
import { BLOCK_SIZE, BlockMap, blocksOf } from './block-map.ts';

const readAt = promisify(read);
const writeAt = promisify(write);
const sync = promisify(fdatasync);

export interface EntryDescription {
  readonly uri: string;
  readonly size: number;
  readonly digest?: string | undefined;
  readonly revision: string;
}

/** Puts a whole image file, by renaming it, into a folder that nobody has open. */
export function placeWhole(folder: string, file: string, description: EntryDescription): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  renameSync(file, join(folder, 'data'));
  BlockMap.writeWhole(folder, description.size);
  describe(folder, description);
}

function describe(folder: string, description: EntryDescription): void {
  writeFileSync(join(folder, 'entry.json'), `${JSON.stringify(description)}\n`, { mode: 0o600 });
}

export class Entry {
  readonly size: number;
  readonly map: BlockMap;
  readonly #path: string;
  readonly #fd: number;

  /** Opens the entry in `folder`, creating it if needed. */
  constructor(folder: string, description: EntryDescription) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.size = description.size;
    this.#path = join(folder, 'data');
    this.#fd = openSync(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.map = new BlockMap(folder, description.size);
    describe(folder, description);
  }

  get path(): string {
    return this.#path;
  }

  /** Bytes present, counted in whole blocks. */
  get bytes(): number {
    return this.map.present * BLOCK_SIZE;
  }

  /** Reads present bytes. A data file that lost them (cut from outside) is noticed: the blocks count as absent again. */
  async read(target: Uint8Array, offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const { bytesRead } = await readAt(this.#fd, target, done, length - done, offset + done);
      if (bytesRead === 0) {
        const { first, last } = blocksOf(offset + done, length - done);
        this.map.clear(first, last);
        throw new SregistryError(
          'CORRUPT',
          `${this.#path} is shorter than its map says at byte ${offset + done}`,
        );
      }
      done += bytesRead;
    }
  }

  /** Writes bytes; the caller marks the blocks they complete. */
  async write(chunk: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await writeAt(this.#fd, chunk, done, chunk.length - done, offset + done);
      done += bytesWritten;
    }
  }

  /** Makes what is present outlive a crash of the machine. */
  async sync(): Promise<void> {
    await sync(this.#fd);
    this.map.saveDurable();
  }

  close(): void {
    this.map.close();
    closeSync(this.#fd);
  }
}
