/** Metadata of an image as headers of its object: `X-Object-Meta-*`. */
import type { Headers } from '../http.ts';
import type { MetadataLimits } from '../kit/metadata.ts';
import type { Strings } from '../kit/store.ts';

const PREFIX = 'x-object-meta-';
/** Bytes of a value (`max_meta_value_length`, docs.openstack.org/swift, "Object Storage API: Constraints"). */
const LONGEST = 256;

/**
 * Names and values together have at most 4096 bytes (`max_meta_overall_size`), of which some are left for the names of pieces. Swift
 * changes the case of names.
 */
export const METADATA: MetadataLimits = {
  bytes: 3500,
  shape: 'json',
  own: () => ({ client: 'sregistry', type: 'container' }),
  // `push` is the id of the push that stored an object's segments. rclone stores the time of a file as `mtime`, and Ceph a mark.
  reserved: ['client', 'type', 'push', 'mtime', 'static-large-object'],
};

/** A value that is too long is stored in pieces: `annotations`, `annotations-1`, `annotations-2`, ... */
export function toHeaders(metadata: Strings): Headers {
  const pieces = Object.entries(metadata).flatMap(([name, value]) =>
    piecesOf(value).map((piece, i) => [PREFIX + name + (i ? `-${i}` : ''), piece]),
  );
  return Object.fromEntries(pieces);
}

/** Only JSON is that long. The space at an edge of a piece, which a header would lose, is written as JSON may write it. */
function piecesOf(value: string): string[] {
  const pieces: string[] = [];
  let rest = value;
  while (rest.length > LONGEST) {
    for (const edge of [LONGEST, LONGEST - 1])
      if (rest[edge] === ' ') rest = `${rest.slice(0, edge)}\\u0020${rest.slice(edge + 1)}`;
    pieces.push(rest.slice(0, LONGEST));
    rest = rest.slice(LONGEST);
  }
  return rest === '' ? pieces : [...pieces, rest];
}

export function fromHeaders(headers: Headers): Strings {
  const all = new Map(
    Object.entries(headers)
      .filter(([name]) => name.startsWith(PREFIX))
      .map(([name, value]) => [name.slice(PREFIX.length), value]),
  );
  const joined = [...all].map(([name, value]) => {
    let whole = value;
    for (let i = 1; value.length === LONGEST && all.has(`${name}-${i}`); i++) {
      whole += all.get(`${name}-${i}`);
      all.delete(`${name}-${i}`);
    }
    return [name, whole] as const;
  });
  return Object.fromEntries(joined.filter(([name]) => all.has(name)));
}
