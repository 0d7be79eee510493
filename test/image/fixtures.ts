/** The genuine images of test/fixtures/images (its README says how they were made), and images made by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '../fixtures/images');

export const fixturePath = (name: string) => join(FOLDER, name);

export const fixture = (name: string): Uint8Array => readFileSync(fixturePath(name));

/** Writes fields of 4 or 8 bytes, little-endian, into a copy of `bytes`. */
export function patched(
  bytes: Uint8Array,
  fields: Readonly<Record<number, number | bigint>>,
): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  const view = new DataView(copy.buffer);
  for (const [at, value] of Object.entries(fields)) {
    if (typeof value === 'bigint') view.setBigInt64(Number(at), value, true);
    else view.setInt32(Number(at), value, true);
  }
  return copy;
}

export const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export const LAUNCH_LINE = '#!/usr/bin/env run-singularity\n';

/** An ext3 of `blocks` blocks of 1 KiB, as far as its superblock goes. */
export function extImage(blocks: number, launch = ''): Uint8Array {
  const ext = patched(new Uint8Array(blocks * 1024), { [1024 + 4]: blocks, [1024 + 56]: 0xef53 });
  return Buffer.concat([latin1(launch), ext]);
}
