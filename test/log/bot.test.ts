import { expect, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { type Bot, createBot, type LevelName, registerSecret } from '../../src/log/index.ts';
import { memoryOutput } from './streams.ts';

const MESSAGES = [
  'abort',
  'critical',
  'error',
  'warning',
  'log',
  'info',
  'verbose',
  'verbose1',
  'verbose2',
  'verbose3',
  'debug',
] as const;

function botWith(env: NodeJS.ProcessEnv = {}, terminal = false) {
  const memory = memoryOutput({ terminal, env });
  return { bot: createBot(memory.output, env), ...memory };
}

function saidAt(level: LevelName | number | string): string[] {
  const { bot, stderr } = botWith();
  bot.setLevel(level);
  for (const name of MESSAGES) bot[name](`<${name}>`);
  bot.setLevel('INFO');
  return [...stderr.text().matchAll(/<(\w+)>/g)].map(([, name]) => name ?? '');
}

test('prints what the Python client shows, with its prefixes', () => {
  const { bot, stderr, stdout } = botWith();
  bot.abort('Abort');
  bot.error('Error');
  bot.warning('Warning');
  bot.custom({ prefix: 'RUHROH', message: 'Custom message', color: 'PURPLE' });
  bot.info('Info');
  bot.critical('Critical');
  expect(stderr.text()).toBe(
    'ABORT Abort\nERROR Error\nWARNING Warning\nRUHROH Custom message\nInfo\nCRITICAL Critical\n',
  );
  expect(stdout.text()).toBe('');
});

test('says at each level what is at or below it', () => {
  expect(saidAt('CRITICAL')).toEqual(['abort', 'critical']);
  expect(saidAt('quiet')).toEqual(['abort', 'critical', 'error', 'warning', 'log']);
  expect(saidAt('INFO')).toEqual(['abort', 'critical', 'error', 'warning', 'log', 'info']);
  expect(saidAt('VERBOSE1')).toEqual(saidAt(2));
  expect(saidAt('3')).not.toContain('verbose3');
  expect(saidAt('DEBUG')).toEqual([...MESSAGES]);
});

test('takes its first level from MESSAGELEVEL by name or number, and INFO where that is nonsense', () => {
  expect(botWith({ MESSAGELEVEL: 'verbose2' }).bot.level).toBe(3);
  expect(botWith({ MESSAGELEVEL: '-3' }).bot.level).toBe(-3);
  expect(botWith({ MESSAGELEVEL: 'shout' }).bot.level).toBe(1);
  expect(botWith({ MESSAGELEVEL: 'QUIET' }).bot.isQuiet).toBe(true);
  expect(botWith().bot.isQuiet).toBe(false);
});

test('refuses to set a level that does not exist and names those that do', () => {
  const { bot } = botWith();
  expect(() => bot.setLevel('shout')).toThrow(SregistryError);
  expect(bot.level).toBe(1);
});

test('prints an error as its message and its causes', () => {
  const { bot, stderr } = botWith();
  bot.error(new Error('Could not pull', { cause: new Error('connect ECONNREFUSED') }));
  expect(stderr.text()).toBe('ERROR Could not pull: connect ECONNREFUSED\n');
});

test('colours a terminal, but not a pipe, and obeys NO_COLOR and SINGULARITY_COLORIZE', () => {
  const coloured = (env: NodeJS.ProcessEnv, terminal: boolean) => {
    const { bot, stderr } = botWith(env, terminal);
    bot.error('x');
    return stderr.text().includes('\u001b[91mERROR');
  };
  expect(coloured({}, true)).toBe(true);
  expect(coloured({}, false)).toBe(false);
  expect(coloured({ NO_COLOR: '1' }, true)).toBe(false);
  expect(coloured({ SINGULARITY_COLORIZE: 'yes' }, false)).toBe(true);
  expect(coloured({ SINGULARITY_COLORIZE: 'no' }, true)).toBe(false);
  expect(coloured({ NO_COLOR: '1', SINGULARITY_COLORIZE: 'yes' }, true)).toBe(false);
});

test('puts data on stdout at every level and hides registered secrets in it', () => {
  const { bot, stdout, stderr } = botWith();
  registerSecret('open-sesame-1');
  bot.setLevel('QUIET');
  bot.data('path with open-sesame-1');
  bot.json({ uri: 'hub://a/b:c', password: 'open-sesame-1' });
  expect(stdout.text()).toBe('path with ***\n{\n  "uri": "hub://a/b:c",\n  "password": "***"\n}\n');
  expect(stderr.text()).toBe('');
});

test('keeps the signature of a link that was asked for, and never prints one in a message', () => {
  const { bot, stdout, stderr } = botWith();
  const link = 'https://bucket.example/x.sif?X-Amz-Signature=0123abcd';
  bot.data(link);
  bot.info(link);
  expect(stdout.text()).toBe(`${link}\n`);
  expect(stderr.text()).toBe('https://bucket.example/x.sif?X-Amz-Signature=***\n');
});

test('discloses a link verbatim, even with a registered secret in it', () => {
  const { bot, stdout } = botWith();
  registerSecret('session-token/1');
  bot.disclose('https://b.example/?X-Amz-Security-Token=session-token%2F1');
  expect(stdout.text()).toBe('https://b.example/?X-Amz-Security-Token=session-token%2F1\n');
});

test('lets no control sequence of a service reach a terminal', () => {
  const { bot, stdout } = botWith({}, true);
  bot.data('evil\u001b]0;title\u0007\u001b[2Jname\rline');
  expect(stdout.text()).toBe('evil\uFFFD]0;title\uFFFD\uFFFD[2Jname\uFFFDline\n');
});

test('draws tables with tabs in a pipe, as the Python client does, and aligned on a terminal', () => {
  const rows = [
    ['Dunkin', 'Donuts', 1],
    ['Starbucks', '日本', undefined],
  ];
  const draw = (terminal: boolean, options?: Parameters<Bot['table']>[1]) => {
    const { bot, stdout } = botWith({ NO_COLOR: '1' }, terminal);
    bot.table(rows, options);
    return stdout.text();
  };
  expect(draw(false)).toBe('1  Dunkin\tDonuts\t1\n2  Starbucks\t日本\t\n');
  expect(draw(false, { numbered: false, header: ['who', 'what', 'n'] })).toBe(
    'who\twhat\tn\nDunkin\tDonuts\t1\nStarbucks\t日本\t\n',
  );
  expect(draw(true, { numbered: false, header: ['who', 'what', 'n'] })).toBe(
    'who        what    n\nDunkin     Donuts  1\nStarbucks  日本\n',
  );
});

test('a cell cannot begin a row or column of its own', () => {
  const { bot, stdout } = botWith();
  bot.table([['a\nb', 'c\td']], { numbered: false });
  expect(stdout.text()).toBe('a b\tc d\n');
});
