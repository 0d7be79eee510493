/** Small images that tell which one they are at every byte: a SquashFS superblock, and a pattern behind it. */

const SIZES = [5_000, 9_000, 9_000, 14_000] as const;

/** How many different images there are; two have the same size. */
export const IMAGES = SIZES.length;

/** No image can begin like this. */
export const TEXT = Buffer.from('only some notes, and no image at all\n'.repeat(60));

export function imageOf(number: number): Buffer {
  const size = SIZES[number] as number;
  const bytes = Buffer.alloc(size);
  for (let at = 96; at < size; at += 1) bytes[at] = (at * (number + 3) + number * 41 + 1) % 251;
  bytes.write('hsqs', 'latin1');
  bytes.writeUInt32LE(4096, 12);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(12, 22);
  bytes.writeUInt16LE(4, 28);
  bytes.writeBigUInt64LE(BigInt(size), 40);
  bytes.writeBigUInt64LE(96n, 64);
  bytes.writeBigUInt64LE(96n, 72);
  return bytes;
}

interface Looked {
  readonly bytes: Buffer;
  /** Which bytes were written. */
  readonly known: Uint8Array;
  /** Then holes are small runs of zeros that were left out. */
  readonly inOrder: boolean;
}

/** What a close finds: the rules of docs/SEMANTICS.md, written a second time and simply. */
export function look({ bytes, known, inOrder }: Looked): 'part' | 'whole' | 'foreign' {
  if (bytes.length === 0) return 'part';
  if (bytes.subarray(0, 4).toString('latin1') === 'hsqs') {
    if (bytes.length < 96) return 'part';
    const length = Number(bytes.readBigUInt64LE(40));
    if (bytes.length < length) return 'part';
    return inOrder || known.subarray(0, length).every((each) => each === 1) ? 'whole' : 'part';
  }
  return bytes.subarray(0, 42).every((byte) => byte === 0) ? 'part' : 'foreign';
}
