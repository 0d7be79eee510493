import type { Progress } from '../backends/backend.ts';
import { type Progress as Bar, bot } from '../log/index.ts';

/** A progress bar that appears with the first bytes, and begins anew with another total; `using` removes it. */
export function progressBar(label: string): { progress: Progress } & Disposable {
  let shown: { readonly bar: Bar; readonly total: number } | undefined;
  return {
    progress(done, total) {
      if (shown?.total !== total) {
        shown?.bar.stop();
        shown = { bar: bot.progress({ label, total }), total };
      }
      shown.bar.update(done);
    },
    [Symbol.dispose]() {
      shown?.bar.stop();
    },
  };
}
