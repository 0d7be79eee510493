/**
 * Keeps the records of files being written in the journal of pushes. A file has a record from its first byte until its bytes
 * are in the registry or given up, so that neither a crash nor an unreachable service loses one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isError, type SregistryError, systemCode } from '../base/errors.ts';
import { ownProcess } from '../base/process.ts';
import type { Journal } from '../catalog/journal.ts';
import type { PushChanges } from '../catalog/push-record.ts';
import { noteSpare, noteStaged } from '../catalog/staged-note.ts';
import type { ImageName } from '../image/name.ts';
import { debugLog } from '../log/index.ts';
import type { StagedFile } from './staged-file.ts';
import { parsePath } from './tree.ts';

const debug = debugLog('staging');

/** Milliseconds between two checks whether another process is done. */
const TURN_INTERVAL = 50;

/** The record's fields for a file whose bytes or name are not those that were pushed. */
export const UNCLOSED = { closedAt: undefined, superseded: undefined } as const;

export class StagedJournal {
  readonly #journal: Journal;
  readonly #uri: (backend: string, name: ImageName) => string;

  /** `uri` gives the URI of a name, for people. */
  constructor(journal: Journal, uri: (backend: string, name: ImageName) => string) {
    this.#journal = journal;
    this.#uri = uri;
  }

  /** Notes that the file is being changed. If this throws, the change must not happen. */
  begin(staged: StagedFile): void {
    const cleared = { error: undefined, hint: undefined, resume: undefined, ...UNCLOSED } as const;
    const draft = this.#draft(staged);
    noteStaged(staged.file, draft);
    if (staged.record === undefined) staged.record = this.#journal.create(draft).id;
    else this.#journal.update(staged.record, { state: 'staging', ...cleared });
    staged.recorded = 'staging';
  }

  /**
   * Notes that the file was found whole and is being pushed. Returns when it was found whole; a further attempt does not change
   * that.
   */
  beginPush(staged: StagedFile): number {
    let closedAt: number | undefined;
    this.#tolerate(staged, () => {
      closedAt = staged.record === undefined ? undefined : this.#journal.get(staged.record)?.closedAt;
    });
    closedAt ??= Date.now();
    this.note(staged, { state: 'pushing', bytes: 0, error: undefined, hint: undefined, closedAt });
    return closedAt;
  }

  /**
   * Resolves when no file that was closed before this one is being pushed to the same name. So the file that was closed last
   * wins.
   */
  async turn(staged: StagedFile, signal: AbortSignal): Promise<void> {
    const { record } = staged;
    if (record === undefined) return;
    for (;;) {
      let mustWait = false;
      this.#tolerate(staged, () => {
        mustWait = this.#journal.isOlderUnderWay(record);
      });
      if (!mustWait) return;
      await sleep(TURN_INTERVAL);
      signal.throwIfAborted();
    }
  }

  /** Notes the state of a file. A database that is busy or full is not an error: the state holds without the note. */
  note(staged: StagedFile, changes: PushChanges): void {
    const { record } = staged;
    if (record === undefined) return;
    this.#tolerate(staged, () => {
      this.#journal.update(record, { size: staged.size, ...changes });
      staged.recorded = changes.state ?? staged.recorded;
    });
  }

  /** Notes the path that the file is about to get. If this throws, the file must keep its own. */
  rename(staged: StagedFile, to: string): void {
    const { record, file } = staged;
    if (record === undefined) return;
    const place = this.#placeOf(to);
    // What a driver kept of an interrupted push belongs to the old name, as does what was pushed there since.
    this.#journal.update(record, { ...place, resume: undefined, ...UNCLOSED });
    this.#tolerate(staged, () => noteStaged(file, place));
  }

  /** The state that the driver kept of an interrupted push. */
  resume({ record }: StagedFile): Record<string, unknown> | undefined {
    return record === undefined ? undefined : this.#journal.get(record)?.resume;
  }

  /** Removes the record: the bytes are in the registry, or given up. */
  end(staged: StagedFile): void {
    const { record } = staged;
    if (record === undefined) return;
    this.#tolerate(staged, () => noteSpare(staged.file));
    this.#tolerate(staged, () => this.#journal.remove(record));
    staged.record = undefined;
    staged.recorded = undefined;
  }

  /** Removes the record of bytes that are in the registry, and the notice of a refusal at that path. */
  pushed(staged: StagedFile): void {
    this.end(staged);
    const { backend, path } = this.#placeOf(staged.path);
    this.#tolerate(staged, () => {
      const record = this.#journal.findByPath(backend, path);
      if (record?.state === 'refused') this.#journal.remove(record.id);
    });
  }

  /** Turns the record into the notice of a refusal, which has no file. */
  refuse(staged: StagedFile, { message, hint }: SregistryError): void {
    if (staged.record === undefined) this.begin(staged);
    this.#tolerate(staged, () => noteSpare(staged.file));
    this.note(staged, { state: 'refused', error: message, hint, staged: undefined });
    staged.record = undefined;
    staged.recorded = undefined;
  }

  #tolerate(staged: StagedFile, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!isError(error, 'DATABASE', 'NO_SPACE') && systemCode(error) === undefined) throw error;
      debug('%s: the journal cannot be written: %o', staged.path, error);
    }
  }

  #placeOf(whole: string) {
    const [, backend = '', ...rest] = whole.split('/');
    const place = parsePath(whole);
    const path = rest.join('/');
    const uri = place?.kind === 'image' ? this.#uri(backend, place.name) : `${backend}://${path}`;
    return { backend, path, uri };
  }

  #draft(staged: StagedFile) {
    return {
      ...this.#placeOf(staged.path),
      state: 'staging' as const,
      bytes: 0,
      size: staged.size,
      staged: staged.file,
      owner: ownProcess(),
    };
  }
}
