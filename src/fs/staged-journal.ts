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

/** Milliseconds between two looks at whether another process is done. */
const TURN_INTERVAL = 50;

/** Of a file whose bytes, or whose name, are not those that were pushed. */
export const UNCLOSED = { closedAt: undefined, superseded: undefined } as const;

export class StagedJournal {
  readonly #journal: Journal;
  readonly #uri: (backend: string, name: ImageName) => string;

  /** `uri` gives the URI of a name, for people. */
  constructor(journal: Journal, uri: (backend: string, name: ImageName) => string) {
    this.#journal = journal;
    this.#uri = uri;
  }

  /** Notes that the file is being changed. Throws where that cannot be noted: then the change must not happen. */
  begin(staged: StagedFile): void {
    const cleared = { error: undefined, hint: undefined, resume: undefined, ...UNCLOSED } as const;
    const draft = this.#draft(staged);
    noteStaged(staged.file, draft);
    if (staged.record === undefined) staged.record = this.#journal.create(draft).id;
    else this.#journal.update(staged.record, { state: 'staging', ...cleared });
    staged.recorded = 'staging';
  }

  /** Notes that the file was found whole and is pushed. Returns since when it is whole: another attempt does not change that. */
  beginPush(staged: StagedFile): number {
    let closedAt: number | undefined;
    this.#tolerate(staged, () => {
      closedAt = staged.record === undefined ? undefined : this.#journal.get(staged.record)?.closedAt;
    });
    closedAt ??= Date.now();
    this.note(staged, { state: 'pushing', bytes: 0, error: undefined, hint: undefined, closedAt });
    return closedAt;
  }

  /** Resolves when no file that was closed before this one is on its way to the same name: the last to be closed counts. */
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

  /** Notes where a file stands. A database that is busy or full does not change where that is. */
  note(staged: StagedFile, changes: PushChanges): void {
    const { record } = staged;
    if (record === undefined) return;
    this.#tolerate(staged, () => {
      this.#journal.update(record, { size: staged.size, ...changes });
      staged.recorded = changes.state ?? staged.recorded;
    });
  }

  /** Notes the path that the file is about to get. Throws where that cannot be noted: then it must keep its own. */
  rename(staged: StagedFile, to: string): void {
    const { record, file } = staged;
    if (record === undefined) return;
    const place = this.#placeOf(to);
    // What a driver kept of an interrupted push belongs to the old name, and so does what was pushed there since.
    this.#journal.update(record, { ...place, resume: undefined, ...UNCLOSED });
    this.#tolerate(staged, () => noteStaged(file, place));
  }

  /** What the driver kept of a push that was interrupted. */
  resume({ record }: StagedFile): Record<string, unknown> | undefined {
    return record === undefined ? undefined : this.#journal.get(record)?.resume;
  }

  /** Ends the record: the bytes are in the registry, or given up. */
  end(staged: StagedFile): void {
    const { record } = staged;
    if (record === undefined) return;
    this.#tolerate(staged, () => noteSpare(staged.file));
    this.#tolerate(staged, () => this.#journal.remove(record));
    staged.record = undefined;
    staged.recorded = undefined;
  }

  /** The bytes are in the registry: what was refused at that path before is not told any more. */
  pushed(staged: StagedFile): void {
    this.end(staged);
    const { backend, path } = this.#placeOf(staged.path);
    this.#tolerate(staged, () => {
      const record = this.#journal.findByPath(backend, path);
      if (record?.state === 'refused') this.#journal.remove(record.id);
    });
  }

  /** Turns the record into the notice of a refusal, which no file belongs to. */
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
