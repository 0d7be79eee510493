/**
 * Which bytes of a file are present, as half-open ranges: sorted, disjoint and never touching. A sequential writer costs one
 * range and constant time for each write.
 */

/** Bytes `start` to `end`, `end` excluded. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export class Extents {
  readonly #ranges: { start: number; end: number }[] = [];

  get ranges(): readonly ByteRange[] {
    return this.#ranges;
  }

  add(start: number, end: number): void {
    if (end <= start) return;
    const first = this.#firstEndingAt(start);
    let next = first;
    let merged = { start, end };
    for (
      let range = this.#ranges[next];
      range !== undefined && range.start <= end;
      range = this.#ranges[next]
    ) {
      merged = { start: Math.min(merged.start, range.start), end: Math.max(merged.end, range.end) };
      next += 1;
    }
    this.#ranges.splice(first, next - first, merged);
  }

  /** Forgets the bytes behind `size`, as after truncating the file. */
  clip(size: number): void {
    for (let last = this.#ranges.at(-1); last !== undefined && last.end > size; last = this.#ranges.at(-1)) {
      if (last.start < size) {
        last.end = size;
        return;
      }
      this.#ranges.pop();
    }
  }

  /** The first absent bytes of `wanted`; undefined if all are present. */
  missing(wanted: ByteRange): ByteRange | undefined {
    if (wanted.end <= wanted.start) return undefined;
    const index = this.#firstEndingAt(wanted.start + 1);
    const range = this.#ranges[index];
    if (range === undefined) return wanted;
    if (range.start > wanted.start) return { start: wanted.start, end: Math.min(range.start, wanted.end) };
    if (range.end >= wanted.end) return undefined;
    const next = this.#ranges[index + 1];
    return { start: range.end, end: Math.min(next?.start ?? wanted.end, wanted.end) };
  }

  /** Index of the first range that ends at `offset` or behind it. */
  #firstEndingAt(offset: number): number {
    let [low, high] = [0, this.#ranges.length];
    // Most writers append: look at the end first.
    if ((this.#ranges[high - 2]?.end ?? -1) < offset && high > 0) low = high - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.end ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
