/**
 * Where a bucket lies: which address its objects have. Amazon has an endpoint for each region and the bucket in front of the
 * host; everything else has one endpoint and, unless told otherwise, the bucket as the first part of the path: a wildcard
 * in DNS and in the certificate is more than most installations have.
 *
 * "Virtual hosting of general purpose buckets", Amazon S3 User Guide.
 */
import { SregistryError } from '../../base/errors.ts';
import type { OptionValues } from '../../settings/options.ts';
import { uriEncode } from '../http.ts';
import type { declaration } from './declaration.ts';

export type Options = OptionValues<(typeof declaration)['options']>;

export interface Place {
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
const AMAZON = /\.amazonaws\.com(\.cn)?$/;
/** Letters, digits, dashes: what a certificate for `*.s3.amazonaws.com` covers. A dot in the name would be a level too many. */
const HOST_LABEL = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
/** What any service may call a bucket: Ceph has `tenant:bucket`, others capitals and underscores. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._:-]{1,254}$/;
const REGION = /^[A-Za-z0-9-]{1,64}$/;

export function placeOf(instance: string, options: Options): Place {
  const { bucket = '', region, base } = options;
  if (!BUCKET.test(bucket))
    throw new SregistryError('SETTINGS', `${instance}: not the name of a bucket: "${bucket}"`, {
      hint: `sregistry backend add ${instance} bucket=NAME`,
    });
  if (region !== undefined && !REGION.test(region))
    throw new SregistryError('SETTINGS', `${instance}: not the name of a region: ${region}`);
  const endpoint = base === undefined ? undefined : new URL(base);
  const isAmazon = endpoint === undefined || AMAZON.test(endpoint.hostname);
  const inFront = isVirtual(instance, options, isAmazon && HOST_LABEL.test(bucket));
  const [isRegional, stated] = regionOf(endpoint);
  return {
    bucket,
    target: `${isRegional ? 'https://s3.amazonaws.com' : withoutSlash(endpoint as URL)}/${bucket}`,
    isAmazon,
    region: region ?? stated ?? DEFAULT_REGION,
    addressIn: (actual) => {
      const url = isRegional ? amazonEndpoint(actual, endpoint?.protocol) : new URL(endpoint as URL);
      const path = withoutSlash(url).slice(url.origin.length);
      if (!inFront) return new URL(`${url.origin}${path}/${encodeURIComponent(bucket)}/`);
      return new URL(`${url.protocol}//${bucket}.${url.host}${path}/`);
    },
  };
}

function isVirtual(instance: string, { addressing, bucket = '' }: Options, automatic: boolean): boolean {
  switch (addressing) {
    case undefined:
    case 'auto':
      return automatic;
    case 'path':
      return false;
    case 'virtual':
      if (/^[a-z0-9.-]+$/.test(bucket)) return true;
      throw new SregistryError('SETTINGS', `${instance}: ${bucket} cannot stand in front of a host`, {
        hint: `sregistry backend add ${instance} addressing=path`,
      });
    default:
      throw new SregistryError('SETTINGS', `${instance}: addressing is auto, path or virtual`);
  }
}

/** Is it one of Amazon's regional endpoints, and of which region? */
function regionOf(endpoint: URL | undefined): [isRegional: boolean, region: string | undefined] {
  if (endpoint === undefined) return [true, undefined];
  const match = REGIONAL_ENDPOINT.exec(endpoint.hostname);
  return [match !== null, match?.[1]];
}

function amazonEndpoint(region: string, protocol = 'https:'): URL {
  return new URL(`${protocol}//s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`);
}

function withoutSlash(url: URL): string {
  return `${url.origin}${url.pathname}`.replace(/\/$/, '');
}

export type Query = Readonly<Record<string, string | number | undefined>>;

/** The address of an object, or of the bucket for `''`, encoded as signatures want it. */
export function addressOf(bucket: URL, key: string, query: Query = {}): URL {
  const address = new URL(bucket.href + encodeKey(key));
  address.search = encodeQuery(query);
  return address;
}

/** A key as it stands in a path. */
export function encodeKey(key: string): string {
  return key.split('/').map(uriEncode).join('/');
}

export function encodeQuery(query: Query): string {
  return Object.entries(query)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${uriEncode(name)}=${uriEncode(String(value))}`)
    .join('&');
}
