/**
 * Decompression of LZO1X, the bit stream of Linux Documentation/staging/lzo.rst. Written here because the existing packages
 * either need a compiler at installation or run only in browsers.
 *
 * The stream is a sequence of instructions, each "copy `length` bytes from `distance` back, then `trailing` (0 to 3)
 * literals". What an instruction below 16 means depends on how many literals were copied before it.
 */

/** Number of literals copied before: 0 to 3 behind a match, or this after a run of literals. */
const AFTER_RUN = 4;

/**
 * The decompressed bytes.
 * @param limit how many there may be at most.
 * @throws {RangeError} where the stream is damaged or larger than `limit`.
 */
export function decompressLzo(input: Uint8Array, limit: number): Uint8Array {
  const output = new Uint8Array(limit);
  let [at, end, state] = [0, 0, 0];

  const next = (): number => {
    const byte = input[at++];
    if (byte === undefined) throw new RangeError('LZO data ends early');
    return byte;
  };
  /** Reads a length. One that does not fit its bits continues in zero bytes, 255 each, and a last byte. */
  const extended = (bits: number, mask: number): number => {
    if (bits !== 0) return bits;
    let length = mask;
    let byte = next();
    for (; byte === 0; byte = next()) length += 255;
    return length + byte;
  };
  const literals = (count: number): void => {
    if (at + count > input.length || end + count > limit) throw new RangeError('LZO literals do not fit');
    output.set(input.subarray(at, at + count), end);
    at += count;
    end += count;
  };
  const match = (distance: number, length: number, trailing: number): void => {
    if (distance > end || end + length > limit) throw new RangeError('An LZO match does not fit');
    // Byte by byte: a match may overlap what it writes.
    for (const stop = end + length; end < stop; end++) output[end] = output[end - distance] as number;
    literals(trailing);
    state = trailing;
  };

  if ((input[0] ?? 0) > 17) {
    const run = next() - 17;
    literals(run);
    state = Math.min(run, AFTER_RUN);
  }
  for (;;) {
    const code = next();
    if (code >= 64) {
      match(1 + ((code >> 2) & 7) + (next() << 3), (code >> 5) + 1, code & 3);
    } else if (code >= 32) {
      const length = extended(code & 31, 31) + 2;
      const word = next() | (next() << 8);
      match(1 + (word >> 2), length, word & 3);
    } else if (code >= 16) {
      const length = extended(code & 7, 7) + 2;
      const word = next() | (next() << 8);
      const distance = ((code & 8) << 11) + (word >> 2);
      if (distance === 0) return output.subarray(0, end);
      match(distance + 0x4000, length, word & 3);
    } else if (state === 0) {
      literals(extended(code, 15) + 3);
      state = AFTER_RUN;
    } else if (state === AFTER_RUN) {
      match(0x801 + (code >> 2) + (next() << 2), 3, code & 3);
    } else {
      match(1 + (code >> 2) + (next() << 2), 2, code & 3);
    }
  }
}
