/**
 * What each tag may hold, by what was asked of it and what was answered: a register with several writers. A write that was
 * acknowledged replaces all that had ended before it began. A write that was not acknowledged may come into force later (its
 * push was kept), but never over one that began after it had failed and was acknowledged. Times are milliseconds since the
 * epoch.
 */
import type { Content } from './content.ts';

/** The number of a content; `absent` where the tag is removed. */
export type Value = number | 'absent';

export interface Write {
  readonly value: Value;
  readonly start: number;
  /** The mount it goes through; undefined where it goes to the registry directly. */
  readonly mount: string | undefined;
  readonly how: string;
  /** When it was answered or given up; undefined while it runs. */
  end?: number;
  acked?: boolean;
  /** It failed, but only when the whole file was closed. */
  closedWhole?: boolean;
}

/**
 * moved: only changed in the registry, past the mounts. written: replaced through any mount. updated: changed in place,
 * through one mount. volatile: written and removed.
 */
export type TagKind = 'moved' | 'written' | 'updated' | 'volatile';

export interface TagOptions {
  readonly backend: string;
  readonly image: string;
  readonly kind: TagKind;
  /** Bytes of its contents: from, to. */
  readonly sizes: readonly [number, number];
}

export class Tag {
  readonly backend: string;
  readonly image: string;
  readonly kind: TagKind;
  readonly sizes: readonly [number, number];
  /** Value when everything had settled last. */
  #settled: Value = 'absent';
  #writes: Write[] = [];
  readonly #past = new Set<number>();

  constructor({ backend, image, kind, sizes }: TagOptions) {
    this.backend = backend;
    this.image = image;
    this.kind = kind;
    this.sizes = sizes;
  }

  /** Within a mount. */
  get path(): string {
    return `${this.backend}/demo/${this.image}:1.sif`;
  }

  get uri(): string {
    return `${this.backend}://demo/${this.image}:1`;
  }

  get settled(): Value {
    return this.#settled;
  }

  get writes(): readonly Write[] {
    return this.#writes;
  }

  /** Writes under way. */
  get running(): number {
    return this.#writes.filter(({ end }) => end === undefined).length;
  }

  begin(write: Omit<Write, 'start'>): Write {
    const begun = { ...write, start: Date.now() };
    this.#writes.push(begun);
    return begun;
  }

  /** The one value it can have now, if there is only one. */
  get certain(): Value | undefined {
    if (this.#writes.some(({ acked }) => acked !== true)) return undefined;
    const now = Date.now();
    const possible = new Set([...this.#all].map(({ value }) => value).filter((v) => this.mayBe(v, now, now)));
    const [only] = possible;
    return possible.size === 1 ? only : undefined;
  }

  /** May somebody who looked between `from` and `to` have seen this value? */
  mayBe(value: Value, from: number, to: number): boolean {
    return this.#all.some(
      (write) => write.value === value && write.start <= to && !this.#isOver(write, from),
    );
  }

  /**
   * The write that was lost, where everything has settled, this is the value, and nothing tells of the write: the value is older,
   * the write failed only at the close of the whole file, and nobody began another one after it.
   */
  lostUnder(value: Value): Write | undefined {
    return this.#writes.find(
      (write) =>
        write.closedWhole === true &&
        this.#all.filter((other) => other.value === value).every((other) => isBefore(other, write)) &&
        !this.#writes.some(({ mount, start }) => mount !== undefined && start > write.start),
    );
  }

  /** Did this value, which must not be there any more, come through a mount that none of those used which replaced it? */
  isFromAnotherMount(value: Value): boolean {
    const write = this.#writes.findLast((each) => each.value === value);
    if (write === undefined) return false;
    return !this.#writes.some(
      (later) => later.acked === true && isBefore(write, later) && later.mount === write.mount,
    );
  }

  /**
   * May what was read between `opened` and `read` through a mount be of a file that is being written there? A write that failed
   * counts until everything has settled, and on each mount: any may take over what is staged.
   */
  isBeingWritten(mount: string, opened: number, read: number): boolean {
    return this.#writes.some((write) => {
      if (write.mount === undefined || write.start > read) return false;
      // A reader that was there first keeps what it opened.
      if (opened < write.start) return false;
      if (write.acked === true) return write.mount === mount && opened < (write.end ?? read);
      return !this.#isReplacedOn(mount, write, opened);
    });
  }

  /** Was the path written anew on that mount after a write had failed? */
  #isReplacedOn(mount: string, failed: Write, at: number): boolean {
    return this.#writes.some(
      (later) =>
        later.mount === mount && later.acked === true && (later.end ?? at) <= at && isBefore(failed, later),
    );
  }

  /** Values it may have had since everything had settled. */
  get possible(): Value[] {
    return this.#all.map(({ value }) => value);
  }

  /** Contents it had before everything had settled last. */
  get past(): ReadonlySet<number> {
    return this.#past;
  }

  settle(value: Value): void {
    for (const each of this.possible) if (typeof each === 'number') this.#past.add(each);
    this.#settled = value;
    this.#writes = [];
  }

  get #all(): Write[] {
    return [
      { value: this.#settled, start: 0, end: 0, acked: true, mount: undefined, how: 'settled' },
      ...this.#writes,
    ];
  }

  /** Had it been replaced for good by `at`? */
  #isOver(write: Write, at: number): boolean {
    return this.#writes.some(
      (later) =>
        later.acked === true &&
        later.end !== undefined &&
        later.end <= at &&
        isBefore(write, later) &&
        // A push that was kept may be done after somebody else changed the tag in the registry.
        (write.acked === true || later.mount !== undefined),
    );
  }

  history(): string {
    const line = ({ value, how, mount, start, end, acked, closedWhole }: Write) =>
      `${value} by ${how}${mount === undefined ? '' : ` on ${mount}`} ${start % 1_000_000}..${end === undefined ? '' : end % 1_000_000} ${acked ? 'done' : closedWhole ? 'failed at close' : 'not done'}`;
    return [`settled at ${this.#settled}`, ...this.#writes.map(line)].join('; ');
  }
}

function isBefore(one: Write, other: Write): boolean {
  return one !== other && one.end !== undefined && one.end < other.start;
}

/** Every content there is, by number. */
export class Contents {
  readonly #all = new Map<number, { content: Content; sha256: string }>();
  readonly #bySha = new Map<string, number>();
  #last = 0;

  next(): number {
    this.#last += 1;
    return this.#last;
  }

  add(content: Content, sha256: string): void {
    this.#all.set(content.id, { content, sha256 });
    this.#bySha.set(sha256, content.id);
  }

  get(id: number): Content {
    return (this.#all.get(id) as { content: Content }).content;
  }

  sha256(id: number): string {
    return (this.#all.get(id) as { sha256: string }).sha256;
  }

  /** The content with that digest; undefined where nobody ever meant those bytes. */
  find(sha256: string): number | undefined {
    return this.#bySha.get(sha256);
  }
}
