/** Marks the buffers of a job's result that move to its starter instead of being copied. */
import type { Transferable } from 'node:worker_threads';

const moving = new WeakMap<object, readonly Transferable[]>();

/** The result, as it is. @param buffers parts of it, which are empty in the job afterwards. */
export function moved<T extends object>(result: T, ...buffers: readonly ArrayBuffer[]): T {
  moving.set(result, buffers);
  return result;
}

/** The buffers that {@link moved} named for this result. */
export function takeMoved(result: unknown): readonly Transferable[] {
  return (typeof result === 'object' && result !== null ? moving.get(result) : undefined) ?? [];
}
