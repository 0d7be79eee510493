import { existsSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const TALLY = './.ci/tally.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Real servers, mounts and native modules: processes isolate them where worker threads would share them.
    pool: 'forks',
    maxWorkers: 3,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    // Reporters named on the command line take the place of these: .ci/run names none.
    reporters: [
      'default',
      './test/helpers/semantics-reporter.ts',
      ...(process.env.TALLY_FILE && existsSync(TALLY) ? [TALLY] : []),
    ],
  },
});
