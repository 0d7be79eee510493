/** The levels of the bot, as in the Python client. A message is printed if its level is not above the bot's level. */
export const LEVELS = {
  ABORT: -5,
  CRITICAL: -4,
  ERROR: -3,
  WARNING: -2,
  LOG: -1,
  QUIET: 0,
  INFO: 1,
  CUSTOM: 1,
  VERBOSE: 2,
  VERBOSE1: 2,
  VERBOSE2: 3,
  VERBOSE3: 4,
  DEBUG: 5,
} as const;

export type LevelName = keyof typeof LEVELS;

/**
 * Parses a level: its name in any case (`debug`) or its number (`5`, `-2`), as in `MESSAGELEVEL`. Undefined for anything else.
 */
export function parseLevel(level: string | number): number | undefined {
  const text = String(level).trim().toUpperCase();
  if (Object.hasOwn(LEVELS, text)) return LEVELS[text as LevelName];
  return /^-?\d+$/.test(text) ? Number(text) : undefined;
}
