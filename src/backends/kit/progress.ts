import type { Progress } from '../backend.ts';

/** Progress that never goes back: bytes that are sent again count once. */
export function onlyForward(progress: Progress | undefined): Progress {
  let most = 0;
  return (done, total) => {
    if (done <= most) return;
    most = done;
    progress?.(done, total);
  };
}
