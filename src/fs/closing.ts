/**
 * Closes a file being written: looks at its bytes, and pushes them if they are a whole image under an image's name.
 *
 * Callers that close a file at the same time share one push and its outcome. A change cancels a push under way, so the bytes
 * never change during a push. Callers that closed the file before the change get the result of an early close.
 */
import { describeError, isError, SregistryError } from '../base/errors.ts';
import type { ByteRange } from '../base/extents.ts';
import { identify } from '../image/format.ts';
import { openFileSource } from '../image/source.ts';
import type { Publisher } from './publisher.ts';
import type { StagedFile } from './staged-file.ts';
import { type StagedJournal, UNCLOSED } from './staged-journal.ts';
import { type ImagePath, parsePath } from './tree.ts';
import { lookAfter } from './writers.ts';

const NAME_HINT = 'Rename it to <image>:<tag>.simg to push it, or remove it';
const KEPT_HINT = 'The file is kept and pushed again at the next mount, or by: sregistry push --kept';

/** What the bytes of a file are. */
type Finding =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part' | 'foreign'; readonly reason: string; readonly hint?: string };

export interface ClosingEvents {
  /** Called for a file that is not an image. */
  onRefused(staged: StagedFile): void;
  /** Called when the closing of a file that nobody has open is done. */
  onClosed(staged: StagedFile): Promise<void>;
}

export class Closing {
  readonly #publisher: Publisher;
  readonly #journal: StagedJournal;
  readonly #events: ClosingEvents;
  readonly #running = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(publisher: Publisher, journal: StagedJournal, events: ClosingEvents) {
    this.#publisher = publisher;
    this.#journal = journal;
    this.#events = events;
  }

  /** Files being looked at or pushed. */
  get active(): number {
    return this.#running.size;
  }

  /** What a writer's `close()` waits for and returns: the push's error, NOT_AN_IMAGE if the bytes are not an image. */
  async flush(staged: StagedFile): Promise<void> {
    while (staged.closing !== undefined) await staged.closing.catch(() => {});
    if (staged.state === 'kept' || staged.state === 'refused') throw staged.failure;
    if (staged.state === 'open') await this.#start(staged);
  }

  /**
   * Cancels a push under way. Resolves when the push has ended, with or without success. The caller decides what comes next.
   */
  async cancel(staged: StagedFile): Promise<void> {
    while (staged.closing !== undefined) {
      staged.cancelPush?.();
      await staged.closing.catch(() => {});
    }
  }

  /** Resolves when nothing is being looked at or pushed. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /** Ends every push and refuses new ones. Files whose push was ended are kept. */
  async stop(): Promise<void> {
    this.#stop.abort(new SregistryError('CANCELED', 'The mount was ended before the push was done'));
    await this.idle();
  }

  #start(staged: StagedFile): Promise<void> {
    const controller = new AbortController();
    staged.cancelPush = () => controller.abort(new SregistryError('CANCELED', `${staged.path} was changed`));
    const closing = this.#close(staged, controller.signal);
    staged.closing = closing;
    this.#running.add(closing);
    const done = () => this.#running.delete(closing);
    closing.then(done, done);
    return closing;
  }

  async #close(staged: StagedFile, canceled: AbortSignal): Promise<void> {
    try {
      await this.#lookAndPush(staged, canceled);
    } finally {
      staged.closing = undefined;
      staged.cancelPush = undefined;
      if (staged.handles === 0 && !staged.isHeld) await this.#events.onClosed(staged);
    }
  }

  async #lookAndPush(staged: StagedFile, canceled: AbortSignal): Promise<void> {
    await staged.quiet();
    const { changes, path } = staged;
    const finding = await look(staged).catch((error: unknown) => this.#keep(staged, error));
    const isSame = staged.changes === changes && staged.path === path && staged.state === 'open';
    if (!isSame || canceled.aborted) return;
    if (finding.kind === 'foreign') this.#refuse(staged, finding.reason);
    const parsed = parsePath(path);
    if (finding.kind === 'part') this.#setAside(staged, finding.reason, finding.hint);
    else if (parsed?.kind === 'image') await this.#push(staged, parsed, canceled);
    else this.#setAside(staged, 'The image is whole, but its file name is not an image name', NAME_HINT);
  }

  async #push(staged: StagedFile, parsed: ImagePath, canceled: AbortSignal): Promise<void> {
    const { backend, name, extension } = parsed;
    const { file, size } = staged;
    const { changes } = staged;
    staged.apply('whole');
    // They finished. Who has it open still is looked up again when it is changed.
    staged.forgetWriters();
    try {
      this.#stop.signal.throwIfAborted();
      // A record that says "pushing" stands for bytes that are on disk.
      await staged.sync();
      const closedAt = this.#journal.beginPush(staged);
      await this.#journal.turn(staged, AbortSignal.any([this.#stop.signal, canceled]));
      staged.remote = await this.#publisher.push({
        backend,
        name,
        extension,
        file,
        size,
        closedAt,
        progress: throttle((bytes) => this.#journal.note(staged, { bytes })),
        resume: {
          load: () => this.#journal.resume(staged),
          save: (resume) => this.#journal.note(staged, { resume }),
        },
        signal: AbortSignal.any([this.#stop.signal, canceled]),
      });
    } catch (error) {
      if (canceled.aborted && !this.#stop.signal.aborted) return this.#reopen(staged);
      this.#keep(staged, error);
    }
    if (staged.changes !== changes) return this.#reopen(staged);
    staged.apply('done');
    this.#journal.pushed(staged);
  }

  /** The bytes have changed since the push began: the next close pushes again. */
  #reopen(staged: StagedFile): void {
    staged.apply('cancel');
    this.#journal.note(staged, { state: 'staging', ...UNCLOSED });
  }

  /** Notes that the file could not be read, or could not be pushed. */
  #keep(staged: StagedFile, error: unknown): never {
    if (staged.state === 'open' || staged.state === 'pushing') {
      staged.failure = error;
      staged.apply('fail');
      const hint = (isError(error) && error.hint) || KEPT_HINT;
      // What must not be replaced would be in the way of every further attempt.
      const state = isError(error, 'EXISTS') ? 'incomplete' : 'kept';
      this.#journal.note(staged, { state, error: describeError(error), hint });
    }
    throw error;
  }

  /** Leaves a closed file unpushed. The journal says what it waits for. */
  #setAside(staged: StagedFile, error: string, hint?: string): void {
    staged.apply('part');
    this.#journal.note(staged, { state: 'incomplete', error, hint });
  }

  #refuse(staged: StagedFile, reason: string): never {
    const failure = new SregistryError('NOT_AN_IMAGE', `${staged.path} was refused: ${reason}`, {
      hint: 'Only container images (SIF, SquashFS, Singularity 2.x) can be copied into a registry',
    });
    staged.failure = failure;
    staged.apply('foreign');
    // At once: what the path had before is whole for whoever opens it next, before its writer has let go of this.
    this.#events.onRefused(staged);
    this.#journal.refuse(staged, failure);
    throw failure;
  }
}

/** A file is whole if its header says so, every part of the image was written, and no process died while changing it. */
async function look(staged: StagedFile): Promise<Finding> {
  if (staged.size === 0) return { kind: 'part', reason: 'It is empty' };
  const { left, killed } = await lookAfter(staged.writers);
  staged.writers = left;
  if (killed) return { kind: 'part', reason: 'Its writer was killed while changing it', hint: PART_HINT };
  await using source = await openFileSource(staged.file);
  const { state, reason, parts } = await identify(source);
  if (state === 'not-an-image') return { kind: 'foreign', reason };
  if (state !== 'whole') return { kind: 'part', reason };
  const missing = staged.missing(parts);
  return missing === undefined ? { kind: 'whole' } : { kind: 'part', reason: hole(missing), hint: PART_HINT };
}

const PART_HINT = 'Write it again, or remove it; to push it as it is: sregistry push --kept';

function hole({ start, end }: ByteRange): string {
  return `Bytes ${start} to ${end - 1} of the image were never written`;
}

/** Milliseconds between two notes of a push's progress in the journal. */
const PROGRESS_INTERVAL = 500;

function throttle(note: (done: number) => void): (done: number) => void {
  let last = 0;
  return (done) => {
    if (Date.now() - last < PROGRESS_INTERVAL) return;
    last = Date.now();
    note(done);
  };
}
