/**
 * Traces for developers over the `debug` package: `DEBUG=sregistry:*` (or one namespace, `sregistry:oci`) shows
 * them, and so does `--debug`. What they print is redacted like everything else.
 */
import { format } from 'node:util';
import createDebug, { type Debugger } from 'debug';
import { processOutput } from './output.ts';

/** Prints to stderr under `sregistry:<namespace>` when that is enabled; printf-like formats as in `debug`. */
export function debugLog(namespace: string): Debugger {
  const log = createDebug(`sregistry:${namespace}`);
  log.log = (...parts: unknown[]) => processOutput.note(format(...parts));
  return log;
}

/** What the environment asks for, this tool's namespaces or others'. */
const requested = process.env.DEBUG ?? '';

/** Enables all of this tool's namespaces beside those that `DEBUG` names. */
export function showDebugLogs(): void {
  createDebug.enable([requested, 'sregistry:*'].filter((namespaces) => namespaces !== '').join(','));
}

/** Back to what `DEBUG` names. */
export function hideDebugLogs(): void {
  createDebug.enable(requested);
}
