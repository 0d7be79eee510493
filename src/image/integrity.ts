/**
 * What a SIF signature vouches for: digests of the header, of each object's descriptor, and of its data
 * (github.com/apptainer/sif, pkg/integrity). Offsets and modification times are left out, so that an image may be
 * packed anew; ids count from the lowest one in the group, so that groups may be renumbered.
 */
import { createHash } from 'node:crypto';
import type { Sif, SifDescriptor } from './sif.ts';
import { type ByteSource, readExactly } from './source.ts';

/** The signed text, as JSON. Digests are `<algorithm>:<hex>`. */
export interface SignedDigests {
  readonly version: number;
  readonly header: { readonly digest: string };
  readonly objects: readonly {
    readonly relativeId: number;
    readonly descriptorDigest: string;
    readonly objectDigest: string;
  }[];
}

/** SHA-1 is no longer collision-free, so digests that use it prove nothing. */
const ALGORITHMS = new Set(['sha224', 'sha256', 'sha384', 'sha512']);
const CHUNK = 1024 * 1024;

/**
 * Compares a group's objects with what was signed.
 * @returns what differs, as a sentence; undefined if everything matches.
 */
export async function findAlteration(
  source: ByteSource,
  { header, descriptors }: Sif,
  group: number,
  signed: SignedDigests,
): Promise<string | undefined> {
  if (!matches(signed.header.digest, headerFields(header.raw))) return 'The header was altered';
  const members = descriptors.filter((descriptor) => descriptor.group === group);
  const lowest = members.reduce((id, member) => Math.min(id, member.id), Number.POSITIVE_INFINITY);
  const missing = signed.objects.find(
    ({ relativeId }) => !members.some(({ id }) => id === lowest + relativeId),
  );
  if (missing !== undefined) return `Object ${lowest + missing.relativeId} was signed and is no longer there`;
  for (const member of members) {
    const relativeId = member.id - lowest;
    const digests = signed.objects.find((object) => object.relativeId === relativeId);
    if (digests === undefined) return `Object ${member.id} was added after signing`;
    if (!matches(digests.descriptorDigest, descriptorFields(member, relativeId)))
      return `The descriptor of object ${member.id} was altered`;
    if (!(await dataMatches(digests.objectDigest, source, member)))
      return `The data of object ${member.id} was altered`;
  }
  return undefined;
}

/** Is this what {@link findAlteration} can compare? */
export function isSignedDigests(value: unknown): value is SignedDigests {
  const { version, header, objects } = (value ?? {}) as Partial<SignedDigests>;
  return (
    version === 1 &&
    typeof header?.digest === 'string' &&
    Array.isArray(objects) &&
    objects.every(
      (object: Partial<SignedDigests['objects'][number]> | null) =>
        Number.isSafeInteger(object?.relativeId) &&
        typeof object?.descriptorDigest === 'string' &&
        typeof object.objectDigest === 'string',
    )
  );
}

/** Launch script, magic, version and id. */
function headerFields(raw: Uint8Array): Uint8Array {
  return Buffer.concat([raw.subarray(0, 45), raw.subarray(48, 64)]);
}

/** Type, used, relative id, link, size, time of creation, owner, name and extra. */
function descriptorFields({ raw }: SifDescriptor, relativeId: number): Uint8Array {
  const head = Buffer.alloc(9);
  head.set(raw.subarray(0, 4));
  head[4] = 1;
  head.writeUInt32LE(relativeId, 5);
  return Buffer.concat([
    head,
    raw.subarray(13, 17),
    raw.subarray(25, 33),
    raw.subarray(41, 49),
    raw.subarray(57, 585),
  ]);
}

function matches(digest: string, bytes: Uint8Array): boolean {
  const [algorithm = '', value] = digest.split(':');
  return ALGORITHMS.has(algorithm) && createHash(algorithm).update(bytes).digest('hex') === value;
}

async function dataMatches(
  digest: string,
  source: ByteSource,
  { id, offset, size }: SifDescriptor,
): Promise<boolean> {
  const [algorithm = '', value] = digest.split(':');
  if (!ALGORITHMS.has(algorithm)) return false;
  const hash = createHash(algorithm);
  for (let done = 0; done < size; done += CHUNK) {
    const length = Math.min(CHUNK, size - done);
    hash.update(await readExactly(source, offset + done, length, `SIF object ${id}`));
  }
  return hash.digest('hex') === value;
}
