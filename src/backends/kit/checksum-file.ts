/** Checksum files: `<file>.sha256` beside an image, as sha256sum(1) writes it. */

export const CHECKSUM_SUFFIX = '.sha256';

/** The digest in a checksum file, as `sha256:<hex>`; undefined if there is none. */
export function parseChecksum(text: string): string | undefined {
  // sha256sum starts a line with a backslash if it had to escape the file name.
  const hex = /^\\?([0-9a-f]{64})(?:\s|$)/i.exec(text)?.[1];
  return hex === undefined ? undefined : `sha256:${hex.toLowerCase()}`;
}

/** The content of the checksum file of a file, for `sha256sum --check`. */
export function formatChecksum(digest: string, fileName: string): string {
  return `${digest.replace(/^sha256:/, '')}  ${fileName}\n`;
}
