import { expect, test } from 'vitest';
import { nearest } from '../../src/base/nearest.ts';

const COMMANDS = ['pull', 'push', 'search', 'status'];

test.each([
  ['pul', 'pull'],
  ['pussh', 'push'],
  ['Serach', 'search'],
  ['statsu', 'status'],
])('A misspelt word is near the one that was meant: %s', (word, meant) => {
  expect(nearest(word, COMMANDS)).toBe(meant);
});

test.each(['', 'x', 'frobnicate'])('A word that means nothing is near none: %s', (word) => {
  expect(nearest(word, COMMANDS)).toBeUndefined();
});
