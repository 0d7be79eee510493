/** Parses values of environment variables and flags: yes and no, sizes, durations. */
import bytes from 'bytes';
import ms from 'ms';
import { parseBoolean } from '../base/boolean.ts';
import { SregistryError } from '../base/errors.ts';

export { parseBoolean };

/** Is the variable set to yes (`yes true t 1 y on`, in any case)? Any other value means no, as in the Python client. */
export function isEnabled(env: NodeJS.ProcessEnv, name: string): boolean {
  return parseBoolean(env[name] ?? '') === true;
}

/** A number of bytes, or a fraction (0 to 1) of a size that the caller knows. */
export type Size = { readonly bytes: number } | { readonly fraction: number };

const SIZE = /^(\d+(?:\.\d+)?)\s*(?:([kmgtp])i?)?b?$/i;
const PERCENTAGE = /^(\d+(?:\.\d+)?)\s*%$/;

/**
 * Parses `50G`, `50GB`, `50GiB` (all mean the same, 1024-based), `1.5T`, a plain number of bytes, or `10%`. Throws SETTINGS for
 * anything else; `name` is the flag or variable in the message.
 */
export function parseSize(text: string, name: string): Size {
  const [, percent] = PERCENTAGE.exec(text.trim()) ?? [];
  if (percent !== undefined && Number(percent) <= 100) return { fraction: Number(percent) / 100 };
  const [, amount, unit = ''] = SIZE.exec(text.trim()) ?? [];
  const size = amount === undefined ? null : bytes.parse(`${amount}${unit}b`);
  if (size === null) throw malformed(name, text, 'a size', '50G, 512MiB, 10%');
  return { bytes: size };
}

/**
 * Parses a duration to seconds: `30` or `30s`, `2m`, `1.5h`, `7d`. Throws SETTINGS for anything else; `name` is the flag or variable
 * in the message.
 */
export function parseDuration(text: string, name: string): number {
  const trimmed = text.trim();
  const withUnit = /\d$/.test(trimmed) ? `${trimmed}s` : trimmed;
  const milliseconds = withUnit === '' ? undefined : ms(withUnit as ms.StringValue);
  if (milliseconds === undefined || !(milliseconds >= 0))
    throw malformed(name, text, 'a duration', '30, 30s, 2m, 7d');
  return milliseconds / 1000;
}

function malformed(name: string, text: string, what: string, examples: string): SregistryError {
  return new SregistryError('SETTINGS', `${name} is "${text}", which is not ${what}.`, {
    hint: `Examples: ${examples}`,
  });
}
