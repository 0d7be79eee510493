import { expect, test } from 'vitest';
import { isEnabled, parseBoolean, parseDuration, parseSize } from '../../src/settings/environment.ts';

const KIB = 1024;

test.each(['yes', 'TRUE', 't', '1', 'Y'])('%s is yes', (text) => {
  expect(parseBoolean(text)).toBe(true);
  expect(isEnabled({ SREGISTRY_DISABLE: text }, 'SREGISTRY_DISABLE')).toBe(true);
});

test.each(['no', 'False', 'f', '0', 'n'])('%s is no', (text) => {
  expect(parseBoolean(text)).toBe(false);
});

test('anything else is neither, which for a switch of the environment is off', () => {
  expect(parseBoolean('maybe')).toBeUndefined();
  expect(parseBoolean('')).toBeUndefined();
  expect(isEnabled({ SREGISTRY_DISABLE: 'maybe' }, 'SREGISTRY_DISABLE')).toBe(false);
  expect(isEnabled({}, 'SREGISTRY_DISABLE')).toBe(false);
});

test.each([
  ['0', 0],
  ['4096', 4096],
  ['50G', 50 * KIB ** 3],
  ['50GB', 50 * KIB ** 3],
  ['2GiB', 2 * KIB ** 3],
  ['512 m', 512 * KIB ** 2],
  ['1.5k', 1536],
  ['2t', 2 * KIB ** 4],
])('reads the size %s as %d bytes', (text, bytes) => {
  expect(parseSize(text, '--cache-size')).toEqual({ bytes });
});

test('reads a percentage as a fraction', () => {
  expect(parseSize('10%', '--cache-size')).toEqual({ fraction: 0.1 });
  expect(parseSize('100 %', '--cache-size')).toEqual({ fraction: 1 });
});

test.each(['', 'G', '50X', '-1G', '1e9', '101%', '50G of RAM'])(
  'refuses the size "%s" and names the flag',
  (text) => {
    expect(() => parseSize(text, '--cache-size')).toThrow(/--cache-size is ".*", which is not a size/);
  },
);

test.each([
  ['30', 30],
  ['30s', 30],
  ['2m', 120],
  ['1.5h', 5400],
  ['7d', 604_800],
  ['250ms', 0.25],
])('reads the duration %s as %d seconds', (text, seconds) => {
  expect(parseDuration(text, 'SREGISTRY_TIMEOUT')).toBe(seconds);
});

test.each(['', 'soon', '-5', '5 fortnights'])('refuses the duration "%s" and names the variable', (text) => {
  expect(() => parseDuration(text, 'SREGISTRY_TIMEOUT')).toThrow(
    /SREGISTRY_TIMEOUT is ".*", which is not a duration/,
  );
});
