/** The scheme in front of an image's name (`docker://ubuntu`): which kind of service is meant. */

import { requireTexts } from '../base/arguments.ts';

/** Schemes of the Python client and ours; anything else may still be the name of a configured backend. */
export const KNOWN_URIS: ReadonlySet<string> = new Set([
  'aws',
  'dir',
  'docker',
  'drive',
  'dropbox',
  'gcs',
  'gitlab',
  'globus',
  'google-build',
  'google-compute',
  'google-drive',
  'google-storage',
  'http',
  'https',
  'hub',
  'library',
  'local',
  'nvidia',
  'oci',
  'oras',
  'registry',
  's3',
  'swift',
]);

const SEPARATOR = '://';

/**
 * The scheme of `text`, known or not: in lower case, `_` read as `-`, and every spelling of Singularity Hub (`shub`) as `hub`.
 * Undefined if it has none.
 */
export function uriScheme(text: string): string | undefined {
  const end = text.indexOf(SEPARATOR);
  if (end < 1) return undefined;
  const scheme = text.slice(0, end).toLowerCase().replaceAll('_', '-');
  if (scheme.includes('/')) return undefined;
  return scheme.includes('shub') ? 'hub' : scheme;
}

/** The scheme of `text` if it is one of `accepted`, else undefined. */
export function getUri(text: string, accepted: ReadonlySet<string> = KNOWN_URIS): string | undefined {
  requireTexts('getUri(text, accepted?)', { text });
  const scheme = uriScheme(text);
  return scheme !== undefined && accepted.has(scheme) ? scheme : undefined;
}

/** `text` without its scheme, or without several in a row (`docker://https://host/x`). */
export function removeUri(text: string): string {
  requireTexts('removeUri(text)', { text });
  const at = text.lastIndexOf(SEPARATOR);
  return at < 1 ? text : text.slice(at + SEPARATOR.length);
}
