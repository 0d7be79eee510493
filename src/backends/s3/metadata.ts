/** The metadata that the Python client gives its images, as headers of requests and replies. */
import type { Headers } from '../http.ts';
import type { MetadataLimits } from '../kit/metadata.ts';
import type { Strings } from '../kit/store.ts';

const PREFIX = 'x-amz-meta-';

/**
 * Names and values together have at most 2 KiB ("Working with object metadata", Amazon S3 User Guide); a service may also count
 * the prefix of each name. Services fold the case of names.
 */
export const METADATA: MetadataLimits = {
  bytes: 2048 - 8 * PREFIX.length,
  shape: 'json',
  own: ({ size }) => ({
    sizemb: String(Math.floor(size / 1024 / 1024)),
    client: 'sregistry',
    type: 'container',
  }),
  reserved: ['sizemb', 'client', 'type'],
};

/** Metadata as the headers of a request. */
export function toHeaders(metadata: Strings): Headers {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [PREFIX + name, value]));
}

/** The metadata in the headers of a reply. */
export function fromHeaders(headers: Headers): Strings {
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => name.startsWith(PREFIX))
      .map(([name, value]) => [name.slice(PREFIX.length), value]),
  );
}

/** `sha256:<hex>` from Amazon's checksum, unless that is a checksum of the parts' checksums (which ends in `-<parts>`). */
export function checksumOf(headers: Headers): string | undefined {
  const checksum = headers['x-amz-checksum-sha256'] ?? '';
  const isWhole = /^[A-Za-z0-9+/]{43}=$/.test(checksum) && headers['x-amz-checksum-type'] !== 'COMPOSITE';
  return isWhole ? `sha256:${Buffer.from(checksum, 'base64').toString('hex')}` : undefined;
}
