/** Names the kind of a file that is not an image, so that the message helps. */
import { isUtf8 } from 'node:buffer';
import { startsWith } from './binary.ts';

/** First bytes (Latin-1), where they stand, and what they mean. */
const SIGNATURES: readonly (readonly [text: string, offset: number, meaning: string])[] = [
  ['\x1f\x8b', 0, 'gzip-compressed data'],
  ['\x28\xb5\x2f\xfd', 0, 'zstd-compressed data'],
  ['\xfd7zXZ\0', 0, 'xz-compressed data'],
  ['BZh', 0, 'bzip2-compressed data'],
  ['PK\x03\x04', 0, 'a zip archive'],
  ['ustar', 257, 'a tar archive'],
  ['\x7fELF', 0, 'a program (ELF)'],
  ['sqsh', 0, 'a big-endian SquashFS, which no Singularity can mount'],
  ['%PDF', 0, 'a PDF document'],
  ['<!DOCTYPE', 0, 'a web page'],
  ['<!doctype', 0, 'a web page'],
  ['<html', 0, 'a web page'],
  ['#!', 0, 'a script'],
  ['{', 0, 'JSON or other text'],
];

/** What these first bytes of a file look like, as the end of "it is ...". */
export function describeForeign(head: Uint8Array): string {
  const known = SIGNATURES.find(([text, offset]) => startsWith(head, text, offset));
  if (known !== undefined) return known[2];
  return looksLikeText(head) ? 'text' : 'data of an unknown kind';
}

function looksLikeText(head: Uint8Array): boolean {
  // A character may be cut in two at the end.
  const whole = [0, 1, 2, 3].some((cut) => isUtf8(head.subarray(0, head.length - cut)));
  return whole && !head.some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27));
}
