/**
 * Where a bucket lies: which address its objects have. Amazon has an endpoint for each region and the bucket in front of the
 * host; everything else has one endpoint and, unless told otherwise, the bucket as the first part of the path: a wildcard
 * in DNS and in the certificate is more than most installations have.
 *
 * "Virtual hosting of general purpose buckets", Amazon S3 User Guide.
 */
import { SregistryError } from '../../base/errors.ts';
import type { OptionValues } from '../../settings/options.ts';
import { encodeKey, encodeQuery, type Query } from '../kit/signed-address.ts';
import type { declaration } from './declaration.ts';

export type Options = OptionValues<(typeof declaration)['options']>;

export interface Endpoint {
  readonly bucket: string;
  /** Address of the service and the bucket, for people, without a region. */
  readonly target: string;
  /** Is it Amazon's own service? */
  readonly isAmazon: boolean;
  /** The region to begin with. */
  readonly region: string;
  /** Address of the bucket, in that region where the service has regional addresses; ends with a slash. */
  addressIn(region: string): URL;
}

/** What the service counts as where nothing is said; Ceph and MinIO take it for theirs. */
const DEFAULT_REGION = 'us-east-1';
/** Amazon's regional endpoints, old and new: `s3.amazonaws.com`, `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.amazonaws.com`. */
const REGIONAL_ENDPOINT = /^s3(?:[.-]([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?$/;
/** Where Amazon is, for people; requests go to an endpoint of its region. */
const AMAZON_ENDPOINT = 'https://s3.amazonaws.com';
const AMAZON = /\.amazonaws\.com(\.cn)?$/;
/** Letters, digits, dashes: what a certificate for `*.s3.amazonaws.com` covers. A dot in the name would be a level too many. */
const HOST_LABEL = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
/** What any service may call a bucket: Ceph has `tenant:bucket`, others capitals and underscores. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._:-]{1,254}$/;
const REGION = /^[A-Za-z0-9-]{1,64}$/;

export function endpointOf(instance: string, options: Options): Endpoint {
  const { bucket = '', region, base } = options;
  if (!BUCKET.test(bucket))
    throw new SregistryError('SETTINGS', `${instance}: not the name of a bucket: "${bucket}"`, {
      hint: `sregistry backend add ${instance} bucket=NAME`,
    });
  if (region !== undefined && !REGION.test(region))
    throw new SregistryError('SETTINGS', `${instance}: not the name of a region: ${region}`);
  const endpoint = new URL(base ?? AMAZON_ENDPOINT);
  const isAmazon = AMAZON.test(endpoint.hostname);
  const inFront = isVirtual(instance, options, isAmazon && HOST_LABEL.test(bucket));
  const regional = REGIONAL_ENDPOINT.exec(endpoint.hostname);
  return {
    bucket,
    target: `${regional ? AMAZON_ENDPOINT : withoutSlash(endpoint)}/${bucket}`,
    isAmazon,
    region: region ?? regional?.[1] ?? DEFAULT_REGION,
    addressIn: (actual) => {
      const url = regional ? amazonEndpoint(actual, endpoint.protocol) : endpoint;
      const path = withoutSlash(url).slice(url.origin.length);
      if (!inFront) return new URL(`${url.origin}${path}/${encodeURIComponent(bucket)}/`);
      return new URL(`${url.protocol}//${bucket}.${url.host}${path}/`);
    },
  };
}

function isVirtual(instance: string, { addressing, bucket = '' }: Options, automatic: boolean): boolean {
  if (addressing !== 'virtual') return addressing !== 'path' && automatic;
  if (/^[a-z0-9.-]+$/.test(bucket)) return true;
  throw new SregistryError('SETTINGS', `${instance}: ${bucket} cannot stand in front of a host`, {
    hint: `sregistry backend add ${instance} addressing=path`,
  });
}

function amazonEndpoint(region: string, protocol: string): URL {
  return new URL(`${protocol}//s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`);
}

function withoutSlash(url: URL): string {
  return `${url.origin}${url.pathname}`.replace(/\/$/, '');
}

/** The address of an object, or of the bucket for `''`, encoded as signatures want it. */
export function addressOf(bucket: URL, key: string, query: Query = {}): URL {
  const address = new URL(bucket.href + encodeKey(key));
  address.search = encodeQuery(query);
  return address;
}
