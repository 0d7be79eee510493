/**
 * All output of sregistry: messages and data (`bot`), traces (`debugLog`), and the redaction of secrets in both.
 */
import { createBot } from './bot.ts';
import { processOutput } from './output.ts';

export { type Bot, createBot } from './bot.ts';
export { debugLog } from './debug.ts';
export { LEVELS, type LevelName, parseLevel } from './levels.ts';
export { type Importance, isJournal, LOG_FORMATS, type Log, type LogFormat, lineLog } from './lines.ts';
export type { Progress, ProgressOptions } from './live.ts';
export { Output } from './output.ts';
export { redact, registerSecret } from './redact.ts';
export type { Cell, TableOptions } from './table.ts';
export { printable } from './terminal.ts';

/** The bot of this process. */
export const bot = createBot(processOutput, process.env);
