/**
 * Remembers what the kernel and libfuse were told of each path, so that neither takes the bytes of one content for those of
 * another.
 *
 * Both remember by path. The kernel cuts reads to the size that it knows. libfuse, mounted with `auto_cache`, keeps the kernel's
 * pages across opens if size and modification time are what they were at the last look (libfuse 2.9, fuse.c: open_auto_cache,
 * update_stat). It looks at each open of a path whose pages it may keep; at other opens it trusts the last look. Hence two rules:
 *
 * - Whenever a path shows another content than it showed last, its size or its modification time is another one. Contents of the
 *   same size and time differ by a millisecond.
 * - An open gets what was told last, or it is refused with ESTALE. Linux then looks the path up anew, which tells libfuse and the
 *   kernel, and opens it once more (do_filp_open in fs/namei.c).
 */
import { LRUCache } from 'lru-cache';

/** Number of paths. One that falls out is looked up anew when it is opened. */
const MAX = 100_000;

/** What a path shows. */
export interface Shown {
  /** Bytes. */
  readonly size: number;
  /** Names the content: a revision, or a file being written. */
  readonly content: string;
  /** Counts the changes of a content that can change. */
  readonly changes: number;
  /**
   * Of an open file, names the copy that its bytes come from. The bytes of a copy may turn out to be wrong when all of them are there;
   * then another one takes its place, and what the kernel has of the wrong one must go.
   */
  readonly copy?: string | undefined;
}

interface Told extends Shown {
  /** The modification time that was told, in milliseconds since the epoch. */
  readonly time: number;
  /** Were its bytes written through the path since? */
  isWritten: boolean;
  /** Was the last open refused as the size had changed? */
  isRefused: boolean;
  /** The copy that it was opened at last, of which the kernel may have pages. */
  openedAt: string | undefined;
  /** Was the last open refused as it would have been at another copy? */
  isReplaced: boolean;
}

export class ToldAttributes {
  readonly #told = new LRUCache<string, Told>({ max: MAX });

  /** Notes that the path is shown so now. Returns the time to tell: `mtime`, or another one in the same second. Milliseconds. */
  note(path: string, { size, content, changes, mtime }: Shown & { readonly mtime: Date }): number {
    const time = mtime.getTime();
    const last = this.#told.get(path);
    const isSame =
      last?.content === content && last.changes === changes && !last.isWritten && !last.isReplaced;
    const told = last === undefined ? time : timeToTell(time, size, last, isSame);
    this.#told.set(path, {
      size,
      content,
      changes,
      time: told,
      isWritten: false,
      isRefused: last?.isRefused ?? false,
      openedAt: isSame ? last.openedAt : undefined,
      isReplaced: false,
    });
    return told;
  }

  /** Notes that bytes are written through the path: the kernel has them in its pages. */
  noteWrite(path: string): void {
    const told = this.#told.get(path);
    if (told !== undefined) told.isWritten = true;
  }

  /** Follows a rename. */
  rename(from: string, to: string): void {
    const told = this.#told.get(from);
    this.#told.delete(from);
    if (told === undefined) this.#told.delete(to);
    else this.#told.set(to, told);
  }

  /**
   * May the path be opened at what it shows now? It may if that was told last. A file that is being written may have another size
   * the second time in a row: it may grow all the time.
   */
  mayOpen(path: string, { size, content, changes, copy }: Shown): boolean {
    const told = this.#told.get(path);
    const isFixed = changes === 0;
    if (told?.content !== content || (isFixed && told.isWritten)) return false;
    if (told.size !== size && (isFixed || !told.isRefused)) {
      told.isRefused = true;
      return false;
    }
    told.isRefused = false;
    if (told.openedAt !== undefined && told.openedAt !== copy) {
      told.isReplaced = true;
      return false;
    }
    told.openedAt = copy;
    return true;
  }
}

/** A path that shows the same as before keeps its time; else the time is another one if the size is the same. */
function timeToTell(time: number, size: number, last: Told, isSame: boolean): number {
  if (isSame && last.size === size) return last.time;
  return last.size === size && last.time === time ? nextInSecond(time) : time;
}

function nextInSecond(time: number): number {
  const second = Math.floor(time / 1000) * 1000;
  return second + ((time - second + 1) % 1000);
}
