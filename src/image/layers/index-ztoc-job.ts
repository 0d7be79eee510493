/** The job of index-ztoc.ts. */
import { moved } from '../../base/moved.ts';
import type { IndexedZtoc } from './index-ztoc.ts';
import { packEntries } from './packed-entries.ts';
import { formatRestarts } from './restart-file.ts';
import { SociSpans, sociPointOf } from './soci-spans.ts';
import { parseZtoc } from './ztoc.ts';

export function run(bytes: Uint8Array): IndexedZtoc {
  const { entries, checkpoints, leastSize, storedSize } = parseZtoc(
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
  );
  const packed = packEntries(entries);
  const spans = new SociSpans(checkpoints.map(sociPointOf), leastSize, storedSize);
  const points = new Uint8Array(formatRestarts(spans));
  return moved({ entries: packed, points }, packed.buffer, points.buffer);
}
