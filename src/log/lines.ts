/** Lines of the log of a process that runs for long: for a file, for programs that read logs, for the journal. */
import { fstatSync } from 'node:fs';
import { redact } from './redact.ts';

/** How important a line is. The numbers are those of syslog(3), which the journal takes; see sd-daemon(3). */
const PRIORITIES = { error: 3, warning: 4, info: 6 } as const;

export type Importance = keyof typeof PRIORITIES;

/** Writes one line. Default importance: info. */
export type Log = (message: string, importance?: Importance) => void;

/**
 * - `text`: time and message
 * - `json`: an object a line with `time` (ISO 8601), `level` and `message`
 * - `journal`: priority and message; the journal adds the time
 */
export const LOG_FORMATS = ['text', 'json', 'journal'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** A log that passes redacted lines, each with its line feed, to `write`. */
export function lineLog(format: LogFormat, write: (line: string) => unknown): Log {
  return (message, importance = 'info') => {
    const text = redact(message);
    write(`${LINES[format](text, importance)}\n`);
  };
}

const now = () => new Date().toISOString();

const LINES: Record<LogFormat, (text: string, importance: Importance) => string> = {
  text: (text) => `${now()} ${text}`,
  json: (message, level) => JSON.stringify({ time: now(), level, message }),
  // The journal reads a priority at the start of each line.
  journal: (text, importance) => text.replace(/^/gm, `<${PRIORITIES[importance]}>`),
};

/** Does stderr go to the journal? JOURNAL_STREAM names the stream's device and inode; see systemd.exec(5). */
export function isJournal(env: NodeJS.ProcessEnv, descriptor = 2): boolean {
  if (!env.JOURNAL_STREAM) return false;
  const { dev, ino } = fstatSync(descriptor);
  return env.JOURNAL_STREAM === `${dev}:${ino}`;
}
