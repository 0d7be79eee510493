/**
 * Restart points as a file:
 *
 *     magic | bytes of the table, 32 bits | table as JSON | windows, one after the other | sha256 of all that
 *
 * The checksum tells a damaged file, which counts as absent: the layer is fetched as a whole then.
 */
import { createHash } from 'node:crypto';
import { type Restart, RestartSpans } from './restart.ts';

/** Names the form of the file. A change of the form, or of the meaning of a point, changes it. */
const MAGIC = Buffer.from('sregistry restart points 1\n');
const CHECKSUM_SIZE = 32;

type Row = [
  kind: Restart['kind'],
  offset: number,
  from: number,
  bits: number,
  byte: number,
  sha256: string,
  windowSize: number,
];

/** What is kept. */
type Restarts = Pick<RestartSpans, 'size' | 'storedSize' | 'points'>;

interface Table {
  readonly size: number;
  readonly storedSize: number;
  readonly points: readonly Row[];
}

export function formatRestarts({ size, storedSize, points }: Restarts): Buffer {
  const rows = points.map(({ kind, offset, from, bits, byte, sha256, window }): Row => {
    return [kind, offset, from, bits, byte, sha256, window.length];
  });
  const table = Buffer.from(JSON.stringify({ size, storedSize, points: rows } satisfies Table));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(table.length);
  const body = Buffer.concat([MAGIC, length, table, ...points.map(({ window }) => window)]);
  return Buffer.concat([body, checksum(body)]);
}

/** Undefined if the file is damaged, or of another form. */
export function parseRestarts(file: Buffer): RestartSpans | undefined {
  const body = file.subarray(0, Math.max(0, file.length - CHECKSUM_SIZE));
  if (!MAGIC.equals(body.subarray(0, MAGIC.length))) return undefined;
  if (!checksum(body).equals(file.subarray(body.length))) return undefined;
  const start = MAGIC.length + 4;
  let at = start + body.readUInt32LE(MAGIC.length);
  const { size, storedSize, points } = JSON.parse(body.toString('utf8', start, at)) as Table;
  const restarts = points.map(([kind, offset, from, bits, byte, sha256, windowSize]): Restart => {
    const window = body.subarray(at, at + windowSize);
    at += windowSize;
    return { kind, offset, from, bits, byte, sha256, window };
  });
  return new RestartSpans(restarts, size, storedSize);
}

function checksum(body: Buffer): Buffer {
  return createHash('sha256').update(body).digest();
}
