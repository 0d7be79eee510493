/**
 * Changes the bytes of a file being written. Before that it cancels a push of them, fetches the bytes that stay, and makes a
 * record in the journal. The change itself happens in one step with a last look at the file's state. On a full disk, cached
 * images make room for it.
 */
import pRetry from 'p-retry';
import { isError } from '../base/errors.ts';
import { isFull } from '../cache/degraded.ts';
import type { Closing } from './closing.ts';
import type { Publisher } from './publisher.ts';
import type { StagedFile } from './staged-file.ts';
import type { StagedJournal } from './staged-journal.ts';
import { diskFull, ended, errorOfStaging, inUse } from './staging-errors.ts';
import type { FindWriters, Writer } from './writers.ts';

/** Bytes that a record of the journal may take on disk: pages of the database and of its log. */
const RECORD_ROOM = 256 * 1024;

/**
 * Bytes of the disk that files being written leave free. A mount that starts needs them for its database; without them, kept
 * files could never be pushed.
 */
const LAST_ROOM = 1024 * 1024;
/** How many bytes of room one look asks for, and for how many milliseconds its result counts. */
const STEP = 1024 * 1024;
const RESERVED_FOR = 100;

/** About six seconds. The event loop runs meanwhile. */
const BUSY_JOURNAL = { retries: 6, minTimeout: 100 } as const;

export interface Change {
  /** Room that it takes on disk. */
  readonly bytes: number;
  /** Do other bytes of the file stay? */
  readonly inPlace: boolean;
  readonly act: () => Promise<void>;
}

export class Changes {
  readonly #journal: StagedJournal;
  readonly #closing: Closing;
  readonly #publisher: Publisher;
  readonly #findWriters: FindWriters | undefined;
  /** Bytes that may be written before room is looked for again. */
  #reserved = 0;
  /** When that was, in milliseconds since the epoch. */
  #reservedAt = 0;
  #hasEnded = false;

  /** `findWriters` finds who has a path open. Default: unknown. */
  constructor(
    journal: StagedJournal,
    closing: Closing,
    publisher: Publisher,
    findWriters: FindWriters | undefined,
  ) {
    this.#journal = journal;
    this.#closing = closing;
    this.#publisher = publisher;
    this.#findWriters = findWriters;
  }

  /**
   * Changes bytes, after it has waited for the end of their push and for a record in the journal. Throws IN_USE if somebody
   * reads them as a published revision.
   */
  change(staged: StagedFile, { bytes, inPlace, act }: Change): Promise<void> {
    return this.withRoom(staged, bytes, async () => {
      for (;;) {
        if (this.#hasEnded) throw ended(staged.path);
        if (staged.state === 'discarded') return act();
        if (staged.state === 'refused') throw staged.failure;
        if (staged.isInRegistry && staged.publishedReaders > 0) throw inUse(staged.path);
        if (staged.state === 'pushing') await this.#closing.cancel(staged);
        else if (inPlace && !staged.isHere) await this.#fetch(staged);
        else if (staged.state !== 'open') await this.#open(staged);
        else if (staged.recorded !== 'staging') await this.#record(staged);
        else if (inPlace && staged.isUpdate && staged.lookedUpAt !== staged.openings)
          await this.#lookUpWriters(staged);
        // In one step with the look at the state, so that no close comes between.
        else return act();
      }
    });
  }

  /** Refuses every further change: the mount ends. */
  end(): void {
    this.#hasEnded = true;
  }

  /** Makes room for bytes about to be written, and keeps the last of the disk free. Throws NO_SPACE if it cannot. */
  async reserve(staged: StagedFile, bytes: number): Promise<void> {
    if (Date.now() - this.#reservedAt > RESERVED_FOR || bytes > this.#reserved) {
      const wanted = Math.max(bytes, STEP);
      const hasMore = await this.#publisher.makeRoom(wanted + LAST_ROOM);
      if (!hasMore && !(await this.#publisher.makeRoom(bytes + LAST_ROOM))) throw diskFull(staged.path);
      this.#reserved = hasMore ? wanted : bytes;
      this.#reservedAt = Date.now();
    }
    this.#reserved -= bytes;
  }

  async #fetch(staged: StagedFile): Promise<void> {
    await this.reserve(staged, staged.size);
    await staged.fetch();
  }

  /** Prepares the change of a file that was closed. */
  async #open(staged: StagedFile): Promise<void> {
    await staged.closing?.catch(() => {});
    if (staged.state !== 'open' && staged.state !== 'pushing' && staged.state !== 'discarded') {
      staged.apply('change');
      staged.forgetWriters();
    }
  }

  async #lookUpWriters(staged: StagedFile): Promise<void> {
    const { openings } = staged;
    const found = (await this.#findWriters?.(staged.path)) ?? [];
    const isNew = ({ pid, started }: Writer) =>
      !staged.writers.some((known) => known.pid === pid && known.started === started);
    staged.writers = [...staged.writers, ...found.filter(isNew)];
    staged.lookedUpAt = openings;
  }

  /** Notes in the journal that the file is being changed. */
  #record(staged: StagedFile): Promise<void> {
    return this.withRoom(staged, RECORD_ROOM, () => this.journaled(() => this.#journal.begin(staged)));
  }

  /** Writes to the journal. Waits a while if another process holds the database. */
  async journaled(act: () => void): Promise<void> {
    await pRetry(act, { ...BUSY_JOURNAL, shouldRetry: ({ error }) => isError(error, 'DATABASE') });
  }

  /** Runs `act`; if the disk is full, evicts cached images and runs it once more. */
  async withRoom(staged: StagedFile, bytes: number, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!isFull(error) || !(await this.#publisher.makeRoom(bytes)))
        throw errorOfStaging(staged.path, error);
      await act().catch((again) => Promise.reject(errorOfStaging(staged.path, again)));
    }
  }
}
