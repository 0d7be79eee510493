import type { Progress } from '../backends/backend.ts';
import { type Progress as Bar, bot } from '../log/index.ts';

/** A progress bar that appears with the first bytes; `using` removes it. */
export function progressBar(label: string): { progress: Progress } & Disposable {
  let bar: Bar | undefined;
  return {
    progress(done, total) {
      bar ??= bot.progress({ label, total });
      bar.update(done);
    },
    [Symbol.dispose]() {
      bar?.stop();
    },
  };
}
