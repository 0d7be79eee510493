import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Extents } from '../../src/base/extents.ts';

const SIZE = 64;
const offset = fc.integer({ min: 0, max: SIZE });
const change = fc.oneof(fc.record({ add: fc.tuple(offset, offset) }), fc.record({ clip: offset }));

test('extents agree with a list of bytes, whatever is written and truncated', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), offset, offset, (changes, start, end) => {
      const extents = new Extents();
      const bytes = new Array<boolean>(SIZE).fill(false);
      for (const each of changes) {
        if ('add' in each) {
          extents.add(...each.add);
          bytes.fill(true, ...each.add);
        } else {
          extents.clip(each.clip);
          bytes.fill(false, each.clip);
        }
      }
      const first = bytes.findIndex((there, at) => !there && at >= start && at < end);
      const next = bytes.findIndex((there, at) => there && at > first);
      const missing = first < 0 ? undefined : { start: first, end: next < 0 ? end : Math.min(next, end) };
      expect(extents.missing({ start, end })).toEqual(missing);
      const runs = bytes.filter((there, at) => there && !bytes[at - 1]).length;
      expect(extents.ranges.length).toBe(runs);
    }),
    { numRuns: 2000 },
  );
});
