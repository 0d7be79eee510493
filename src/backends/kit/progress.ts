import type { Progress } from '../backend.ts';

/** Progress that never counts back: what is sent again counts once. */
export function onlyForward(progress: Progress | undefined): Progress {
  let most = 0;
  return (done, total) => {
    if (done <= most) return;
    most = done;
    progress?.(done, total);
  };
}
