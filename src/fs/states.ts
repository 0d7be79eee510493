/**
 * The states of a file being written, from its first byte to the registry.
 *
 *   unchanged   opened for update, not a byte changed: what it shows is the registry's
 *   open        changed since it was last closed
 *   incomplete  closed, and not to be pushed: not whole, or not under an image's name
 *   pushing     closed whole; its push is under way
 *   pushed      its bytes are the registry's
 *   kept        its push failed; the bytes wait for the next mount, a further change, or a new name
 *   refused     closed, and not an image: it has left its path, and its handles can only be closed
 *   discarded   removed or replaced; its handles go on with the bytes
 *   gone        left the staging folder
 *
 * What each operation does in each state. "Look" identifies the bytes: a whole image under an image's name is pushed, a
 * part is incomplete, a file that is not an image is refused, and a file that cannot be read is kept. "Cancel" ends the
 * push and waits for its end, then does what the state says that the push left behind: open, or pushed where the service
 * was faster.
 *
 *              write,    close      rename          unlink        last handle   mount
 *              truncate                                           released      ends
 *   unchanged  -> open   nothing    the registry's  the registry's  gone        gone
 *   open       stays     look       moves           discarded     incomplete    journal
 *   incomplete -> open   nothing    moves, look     discarded     stays         journal
 *   pushing    cancel    its result cancel          cancel        stays         kept
 *   pushed     -> open   nothing    the registry's  the registry's  gone        gone
 *   kept       -> open   its error  moves, look     discarded     stays         journal
 *   refused    its error its error  -               -             gone          gone
 *   discarded  stays     nothing    -               -             gone          gone
 *
 * "The registry's": the operation is one on the registry's image, with the permissions that needs. "Journal": the record
 * stays, with the bytes. A reader that opened the file unchanged or pushed has opened a published revision: while it is
 * there the file is not changed (IN_USE). At the next mount a file that was kept or being pushed is pushed; any other is
 * listed, for its owner to decide (restore.ts). fsync changes no state: it brings the bytes to disk.
 */
import { SregistryError } from '../base/errors.ts';

export type StagedState =
  | 'unchanged'
  | 'open'
  | 'incomplete'
  | 'pushing'
  | 'pushed'
  | 'kept'
  | 'refused'
  | 'discarded'
  | 'gone';

export type StagedEvent =
  /** Bytes are about to change, or the file gets another name. */
  | 'change'
  /** Looked at after a close: it is a part, a whole image, or no image. */
  | 'part'
  | 'whole'
  | 'foreign'
  /** The push succeeded; the push, or the look before it, failed; a change canceled the push. */
  | 'done'
  | 'fail'
  | 'cancel'
  /** Removed or replaced. */
  | 'discard'
  /** Nobody needs it here any more. */
  | 'leave';

const TRANSITIONS: Readonly<Record<StagedState, Partial<Record<StagedEvent, StagedState>>>> = {
  unchanged: { change: 'open', discard: 'discarded', leave: 'gone' },
  open: {
    change: 'open',
    part: 'incomplete',
    whole: 'pushing',
    foreign: 'refused',
    fail: 'kept',
    discard: 'discarded',
  },
  incomplete: { change: 'open', discard: 'discarded' },
  pushing: { done: 'pushed', fail: 'kept', cancel: 'open' },
  pushed: { change: 'open', discard: 'discarded', leave: 'gone' },
  kept: { change: 'open', discard: 'discarded' },
  refused: { leave: 'gone' },
  discarded: { change: 'discarded', leave: 'gone' },
  gone: {},
};

/** The state after an event. @throws {SregistryError} INTERNAL for an event that cannot happen there. */
export function nextState(state: StagedState, event: StagedEvent): StagedState {
  const next = TRANSITIONS[state][event];
  if (next !== undefined) return next;
  throw new SregistryError('INTERNAL', `A file being written that is ${state} cannot ${event}`);
}
