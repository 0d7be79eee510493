/**
 * Traces for developers, printed by the package `debug`. `DEBUG=sregistry:*` (or one namespace, `sregistry:oci`) and `--debug` show them.
 * They are redacted like all output.
 */
import { format } from 'node:util';
import createDebug, { type Debugger } from 'debug';
import { processOutput } from './output.ts';

/** A function that prints to stderr if `sregistry:<namespace>` is enabled. Formats as in `debug`. */
export function debugLog(namespace: string): Debugger {
  const log = createDebug(`sregistry:${namespace}`);
  log.log = (...parts: unknown[]) => processOutput.note(format(...parts));
  return log;
}

/** The namespaces that the environment enables, of this tool or others. */
const requested = process.env.DEBUG ?? '';

/** Enables all namespaces of this tool in addition to those in `DEBUG`. */
export function showDebugLogs(): void {
  createDebug.enable([requested, 'sregistry:*'].filter((namespaces) => namespaces !== '').join(','));
}

/** Restores the namespaces in `DEBUG`. */
export function hideDebugLogs(): void {
  createDebug.enable(requested);
}
