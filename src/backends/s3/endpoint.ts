/**
 * Finds the address of a bucket. Amazon has an endpoint for each region, with the bucket before the host. Other services have one
 * endpoint, with the bucket as the first part of the path unless `addressing` says otherwise: few installations have the
 * wildcards in DNS and in the certificate that a bucket before the host needs.
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
  /** Address of the service and the bucket for messages, without a region. */
  readonly target: string;
  /** Whether the service is Amazon's own. */
  readonly isAmazon: boolean;
  /** The region to try first. */
  readonly region: string;
  /** Address of the bucket, in `region` if the service has regional addresses; ends with a slash. */
  addressIn(region: string): URL;
}

/** Region if none is set; Ceph and MinIO accept it as theirs. */
const DEFAULT_REGION = 'us-east-1';
/** Amazon's regional endpoints, old and new: `s3.amazonaws.com`, `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.amazonaws.com`. */
const REGIONAL_ENDPOINT = /^s3(?:[.-]([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?$/;
/** Amazon's address in messages; requests go to the endpoint of the region. */
const AMAZON_ENDPOINT = 'https://s3.amazonaws.com';
const AMAZON = /\.amazonaws\.com(\.cn)?$/;
/** Letters, digits, dashes: what a certificate for `*.s3.amazonaws.com` covers. A dot in the name would add a level. */
const HOST_LABEL = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
/** Names that any service accepts: Ceph has `tenant:bucket`, others capitals and underscores. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._:-]{1,254}$/;
const REGION = /^[A-Za-z0-9-]{1,64}$/;

export function endpointOf(instance: string, options: Options): Endpoint {
  const { bucket = '', region, base } = options;
  if (!BUCKET.test(bucket))
    throw new SregistryError('SETTINGS', `${instance}: "${bucket}" is not a valid bucket name`, {
      hint: `sregistry backend add ${instance} bucket=NAME`,
    });
  if (region !== undefined && !REGION.test(region))
    throw new SregistryError('SETTINGS', `${instance}: "${region}" is not a valid region name`);
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
  throw new SregistryError('SETTINGS', `${instance}: ${bucket} cannot be part of a host name`, {
    hint: `sregistry backend add ${instance} addressing=path`,
  });
}

function amazonEndpoint(region: string, protocol: string): URL {
  return new URL(`${protocol}//s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`);
}

function withoutSlash(url: URL): string {
  return `${url.origin}${url.pathname}`.replace(/\/$/, '');
}

/** The address of an object, or of the bucket if the key is `''`, encoded as signatures require. */
export function addressOf(bucket: URL, key: string, query: Query = {}): URL {
  const address = new URL(bucket.href + encodeKey(key));
  address.search = encodeQuery(query);
  return address;
}
