/**
 * The mount as a plain model: tags, files being written, open files. Every operation says what it gives: `undefined` for
 * success, else the name of the errno. Written from docs/SEMANTICS.md, not from the code.
 */
import { keyOf, parsePath } from '../../src/fs/tree.ts';
import { look } from './content.ts';

export type Outcome = string | undefined;

/** A file being written. */
export interface Written {
  path: string;
  bytes: Buffer;
  /** Which bytes were written, or are still those of the image that was opened for update. */
  known: Uint8Array;
  state: 'unchanged' | 'open' | 'incomplete' | 'pushed' | 'kept' | 'refused' | 'discarded';
  isClosed: boolean;
  /** Did each write begin where the last one ended, or behind that? And where did that end? */
  inOrder: boolean;
  end: number;
  /** Was a byte written, so that a crash leaves something? */
  isRecorded: boolean;
  handles: number;
}

/** An open file: what it reads from, and where the kernel has it. */
export interface Opened {
  /** Follows renames; undefined when the name was taken from it. */
  path: string | undefined;
  readonly writes: boolean;
  readonly file: Written | Buffer;
  /** Was it opened for reading when the file was what the registry has? Then nobody changes it. */
  readonly isPublished: boolean;
}

const isImage = (path: string) => parsePath(path)?.kind === 'image';

export class Model {
  readonly allowDelete: boolean;
  readonly tags = new Map<string, Buffer>();
  readonly files = new Map<string, Written>();
  readonly opened = new Set<Opened>();
  isAway = false;
  /** Files that were not closed when a mount died: listed, not shown. */
  listed = 0;

  constructor(allowDelete: boolean) {
    this.allowDelete = allowDelete;
  }

  /** What reading the path gives; undefined where there is nothing. */
  content(path: string): Buffer | undefined {
    const key = keyOf(path);
    return this.files.get(key)?.bytes ?? this.tags.get(key);
  }

  /** Readers of a tag's revision, under which paths. */
  readers(path: string): Opened[] {
    return [...this.opened].filter(
      ({ file, path: where }) => Buffer.isBuffer(file) && where !== undefined && keyOf(where) === keyOf(path),
    );
  }

  isReadElsewhere(path: string): boolean {
    return this.readers(path).some((reader) => reader.path !== path);
  }

  isOpen(path: string): boolean {
    return [...this.opened].some((each) => each.path === path);
  }

  /** Closed files that may be about to be renamed over another. */
  get hasClosed(): boolean {
    return [...this.files.values()].some(({ state }) => state === 'incomplete' || state === 'kept');
  }

  openForReading(path: string): Opened | Outcome {
    const content = this.content(path);
    return content === undefined ? 'ENOENT' : this.#open(path, false, this.files.get(keyOf(path)) ?? content);
  }

  /** O_RDWR, or with `replace` O_WRONLY | O_CREAT | O_TRUNC. */
  openForWriting(path: string, how: 'update' | 'replace'): Opened | Outcome {
    const key = keyOf(path);
    const tag = this.tags.get(key);
    const existed = this.content(path) !== undefined;
    let file = this.files.get(key);
    if (file === undefined) {
      if (this.readers(path).length > 0) return 'ETXTBSY';
      if (tag === undefined && how === 'update') return 'ENOENT';
      file = newFile(path, tag);
      this.files.set(key, file);
    }
    if (this.#isProtected(file)) return 'ETXTBSY';
    const opened = this.#open(path, true, file);
    if (how === 'replace' && existed) this.truncate(opened, 0);
    return opened;
  }

  write({ file }: Opened, bytes: Buffer, at: number): Outcome {
    const written = file as Written;
    if (written.state === 'refused') return 'EINVAL';
    if (this.#isProtected(written)) return 'ETXTBSY';
    this.#reopen(written);
    const size = Math.max(written.bytes.length, at + bytes.length);
    resize(written, size);
    bytes.copy(written.bytes, at);
    written.known.fill(1, at, at + bytes.length);
    written.inOrder &&= at >= written.end;
    written.end = at + bytes.length;
    this.#change(written);
    return undefined;
  }

  truncate({ file }: Opened, size: number): Outcome {
    const written = file as Written;
    if (written.state === 'refused') return 'EINVAL';
    if (this.#isProtected(written)) return 'ETXTBSY';
    this.#reopen(written);
    resize(written, size);
    written.inOrder ||= size === 0;
    written.end = Math.min(written.end, size);
    this.#change(written);
    return undefined;
  }

  flush({ file, writes }: Opened): Outcome {
    if (!writes || Buffer.isBuffer(file)) return undefined;
    file.isClosed = true;
    return this.#close(file);
  }

  release(opened: Opened): void {
    this.opened.delete(opened);
    const { file } = opened;
    if (Buffer.isBuffer(file)) return;
    file.handles -= 1;
    if (file.handles > 0) return;
    this.#rest(file);
    if (file.state === 'open' && this.files.get(keyOf(file.path)) === file) file.state = 'incomplete';
  }

  unlink(path: string): Outcome {
    const key = keyOf(path);
    const file = this.files.get(key);
    if (file !== undefined && !isInRegistry(file)) {
      this.#discard(file);
      this.#hideReaders(path);
      return undefined;
    }
    if (!this.tags.has(key)) return 'ENOENT';
    if (this.isReadElsewhere(path)) return 'EBUSY';
    if (!this.allowDelete) return 'EPERM';
    this.tags.delete(key);
    if (file !== undefined) this.#discard(file);
    this.#hideReaders(path);
    return undefined;
  }

  rename(from: string, to: string): Outcome {
    const file = this.files.get(keyOf(from));
    if (file === undefined && !this.tags.has(keyOf(from))) return 'ENOENT';
    if (from === to) return undefined;
    const hidden = this.#hideForRename(to);
    if (hidden !== undefined) return hidden;
    const outcome =
      file !== undefined && !isInRegistry(file)
        ? this.#renameFile(file, from, to)
        : this.#renameTag(from, to, file);
    if (outcome === undefined) for (const each of this.opened) if (each.path === from) each.path = to;
    return outcome;
  }

  /** The mount is killed and mounted again. */
  crash(): void {
    this.opened.clear();
    for (const [key, file] of [...this.files]) {
      const isShown = file.state === 'kept' || (file.state === 'incomplete' && !isImage(file.path));
      const survives = isShown && file.isRecorded;
      const isListed = !survives && file.isRecorded && (file.state === 'open' || file.state === 'incomplete');
      if (isListed) this.listed += 1;
      if (isListed && file.state === 'open' && !isImage(file.path)) {
        // Not an image's name: it hides nothing, so it is shown again.
        this.listed -= 1;
        file.state = 'incomplete';
        file.handles = 0;
        continue;
      }
      if (!survives) this.files.delete(key);
      else file.handles = 0;
    }
    for (const file of [...this.files.values()]) {
      // What another process left counts as written.
      file.known.fill(1);
      if (file.state === 'kept' && !this.isAway) this.#closeAgain(file);
    }
  }

  /** Records that the journal has. */
  get recorded(): number {
    const states = ['open', 'incomplete', 'kept'];
    const files = [...this.files.values()].filter((file) => file.isRecorded && states.includes(file.state));
    return files.length + this.listed;
  }

  #open(path: string, writes: boolean, file: Written | Buffer): Opened {
    const isPublished = !writes && !Buffer.isBuffer(file) && isInRegistry(file);
    const opened = { path, writes, file, isPublished };
    if (!Buffer.isBuffer(file)) file.handles += 1;
    this.opened.add(opened);
    return opened;
  }

  #isProtected(file: Written): boolean {
    return isInRegistry(file) && [...this.opened].some((each) => each.file === file && each.isPublished);
  }

  /** A whole image that is changed is one that is updated. */
  #reopen(file: Written): void {
    if (file.state !== 'pushed' && file.state !== 'kept') return;
    file.known.fill(1);
    file.inOrder = true;
    file.end = 0;
  }

  #change(file: Written): void {
    if (file.state === 'discarded') return;
    file.state = 'open';
    file.isClosed = false;
    file.isRecorded = true;
  }

  #close(file: Written): Outcome {
    if (file.state === 'kept') return 'EHOSTUNREACH';
    if (file.state === 'refused') return 'EINVAL';
    if (file.state !== 'open') return undefined;
    const found = look(file);
    if (found === 'foreign') {
      file.state = 'refused';
      this.#drop(file);
      return 'EINVAL';
    }
    if (found === 'part' || !isImage(file.path)) {
      file.state = 'incomplete';
      return undefined;
    }
    if (this.isAway) {
      file.state = 'kept';
      return 'EHOSTUNREACH';
    }
    file.state = 'pushed';
    file.isRecorded = false;
    this.tags.set(keyOf(file.path), Buffer.from(file.bytes));
    return undefined;
  }

  /** libfuse hides an open target before it renames over it. The registry has it until something replaces it there. */
  #hideForRename(to: string): Outcome {
    if (!this.isOpen(to)) return undefined;
    const file = this.files.get(keyOf(to));
    if (file !== undefined && !isInRegistry(file)) this.#discard(file);
    else if (this.tags.has(keyOf(to))) {
      if (this.isReadElsewhere(to)) return 'EBUSY';
      if (!this.allowDelete && !this.hasClosed) return 'EPERM';
      if (file !== undefined) this.#discard(file);
    }
    this.#hideReaders(to);
    return undefined;
  }

  #renameFile(file: Written, from: string, to: string): Outcome {
    if (keyOf(from) !== keyOf(to)) {
      if (this.isReadElsewhere(to)) return 'EBUSY';
      const replaced = this.files.get(keyOf(to));
      if (replaced !== undefined) this.#discard(replaced);
    }
    this.#move(file, to);
    if (file.state === 'open' && !file.isClosed && file.handles > 0) return undefined;
    return this.#closeAgain(file);
  }

  /** Looks at a closed file once more. */
  #closeAgain(file: Written): Outcome {
    file.state = 'open';
    file.isClosed = true;
    const outcome = this.#close(file);
    if (file.handles === 0) this.#rest(file);
    return outcome;
  }

  #renameTag(from: string, to: string, file: Written | undefined): Outcome {
    if (!isImage(from) || !isImage(to)) return 'EXDEV';
    if (keyOf(from) !== keyOf(to)) {
      if (!this.allowDelete) return 'EPERM';
      if (this.isReadElsewhere(from) || this.isReadElsewhere(to)) return 'EBUSY';
      const replaced = this.files.get(keyOf(to));
      if (replaced !== undefined) this.#discard(replaced);
      this.tags.set(keyOf(to), this.tags.get(keyOf(from)) as Buffer);
      this.tags.delete(keyOf(from));
    }
    if (file !== undefined) this.#move(file, to);
    return undefined;
  }

  #rest(file: Written): void {
    if (['pushed', 'unchanged', 'refused'].includes(file.state)) this.#drop(file);
  }

  #move(file: Written, to: string): void {
    this.#drop(file);
    file.path = to;
    this.files.set(keyOf(to), file);
  }

  #discard(file: Written): void {
    this.#drop(file);
    file.state = 'discarded';
  }

  #drop(file: Written): void {
    if (this.files.get(keyOf(file.path)) === file) this.files.delete(keyOf(file.path));
  }

  #hideReaders(path: string): void {
    for (const each of this.opened) if (each.path === path) each.path = undefined;
  }
}

function newFile(path: string, original: Buffer | undefined): Written {
  const bytes = Buffer.from(original ?? []);
  return {
    path,
    bytes,
    known: new Uint8Array(bytes.length).fill(1),
    state: original === undefined ? 'open' : 'unchanged',
    isClosed: false,
    inOrder: true,
    end: 0,
    isRecorded: false,
    handles: 0,
  };
}

function isInRegistry({ state }: Written): boolean {
  return state === 'pushed' || state === 'unchanged';
}

function resize(file: Written, size: number): void {
  const { bytes, known } = file;
  file.bytes = Buffer.alloc(size);
  bytes.copy(file.bytes);
  file.known = new Uint8Array(size);
  file.known.set(known.subarray(0, Math.min(known.length, size)));
}
