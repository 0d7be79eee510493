import { expect, onTestFinished, test, vi } from 'vitest';
import { createBot } from '../../src/log/index.ts';
import { memoryOutput } from './streams.ts';

function botOn(terminal: boolean) {
  const memory = memoryOutput({ terminal });
  return { bot: createBot(memory.output, {}), ...memory };
}

test('shows no progress and no spinner in a pipe or when quiet', () => {
  const quiet = botOn(true);
  quiet.bot.setLevel('QUIET');
  for (const { bot, stderr } of [botOn(false), quiet]) {
    const bar = bot.progress({ label: 'image', total: 10 });
    bot.spinner.start('thinking');
    bar.update(5);
    bar.increment(5);
    bar.stop();
    bot.spinner.stop();
    expect(stderr.text()).toBe('');
  }
});

test('in a pipe, says how a transfer of more than a minute goes, every 30 seconds', () => {
  vi.useFakeTimers({ toFake: ['Date'], now: 0 });
  onTestFinished(() => void vi.useRealTimers());
  const { bot, stderr } = botOn(false);
  using bar = bot.progress({ label: 'x.sif', total: 400 * 1024 ** 2 });
  for (let second = 0; second <= 100; second++) {
    vi.setSystemTime(second * 1000);
    bar.update(second * 1024 ** 2);
  }
  expect(stderr.text()).toBe(
    'x.sif: 60.0MB of 400.0MB, 1.0MB/s, 6m left\nx.sif: 90.0MB of 400.0MB, 1.0MB/s, 5m left\n',
  );
});

test('shows the rate since the first news, so that what a resumed transfer had does not count', () => {
  vi.useFakeTimers({ toFake: ['Date'], now: 0 });
  onTestFinished(() => void vi.useRealTimers());
  const { bot, stderr } = botOn(true);
  using bar = bot.progress({ label: 'x.sif', total: 100 * 1024 ** 2 });
  bar.update(50 * 1024 ** 2);
  vi.setSystemTime(2000);
  bar.update(60 * 1024 ** 2);
  bot.info('now');
  expect(stderr.text()).toContain('60.0MB/100.0MB 5.0MB/s ETA');
});

test('shows several bars and the spinner at once, and messages between them', () => {
  const { bot, stderr, stdout } = botOn(true);
  using first = bot.progress({ label: 'first.sif', total: 4 * 1024 * 1024 });
  using second = bot.progress({ label: 'second', total: 10, unit: 'items' });
  bot.spinner.start('thinking');
  first.update(1024 * 1024);
  second.increment(5);
  bot.info('meanwhile');
  const screen = stderr.text();
  expect(screen).toContain('meanwhile\u001b[K\n');
  expect(screen).toMatch(/first\.sif \[=+-+\] 25% 1\.0MB\/4\.0MB/);
  expect(screen).toMatch(/second \[=+-+\] 50% 5\/10/);
  expect(screen).toContain('thinking');
  bot.spinner.stop();
  expect(stdout.text()).toBe('');
});

test('writes plain lines again once the last bar has stopped, and stopping twice is no harm', () => {
  const { bot, stderr } = botOn(true);
  const bar = bot.progress({ label: 'image', total: 0 });
  bar.stop();
  bar.stop();
  const before = stderr.text().length;
  bot.info('done');
  expect(stderr.text().slice(before)).toBe('done\n');
});

test('the label of a bar carries no control sequence', () => {
  const { bot, stderr } = botOn(true);
  const bar = bot.progress({ label: 'evil\u001b[2J', total: 1 });
  bot.info('drawn');
  bar.stop();
  expect(stderr.text()).toContain('evil\uFFFD[2J [');
});
