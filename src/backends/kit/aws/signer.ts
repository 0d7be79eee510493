/** Signs requests (AWS Signature Version 4) with AWS's own library, loaded on first use. */
import { parse } from 'node:querystring';
import type { SignatureV4 } from '@smithy/signature-v4';
import type { Headers } from '../../http.ts';
import { importDependency } from '../../optional.ts';
import { encodeQuery } from '../signed-address.ts';
import type { CredentialSource } from './credentials.ts';
import { awsLibraries } from './declaration.ts';

export interface Signer {
  /** The headers that sign a request; empty without credentials. */
  sign(request: { method: string; url: URL; headers: Headers }): Promise<Headers>;
  /** `url` as a link that anybody can GET for `expires` seconds; unchanged without credentials. */
  presign(url: URL, expires: number): Promise<URL>;
}

export interface SignerSettings {
  /** Name of the driver, for messages. */
  readonly driver: string;
  /** As signatures name it: `s3`, `ecr`. */
  readonly service: string;
  readonly region: string;
}

/** The longest lifetime of a link in seconds: 7 days. */
export const LONGEST_LINK = 604_800;

/** Headers that a signature covers: none that proxies change on the way. */
const SIGNED = /^(x-amz-.+|content-md5|content-type)$/;

const PAYLOAD = 'x-amz-content-sha256';
/** Headers that a browser does not send when it follows a link. */
const NOT_IN_LINKS = new Set([PAYLOAD]);

export function createSigner({ driver, service, region }: SignerSettings, source: CredentialSource): Signer {
  const signature = async (): Promise<SignatureV4 | undefined> => {
    const credentials = await source();
    if (credentials === undefined) return undefined;
    const [{ SignatureV4 }, { Sha256 }] = await Promise.all([
      importDependency<typeof import('@smithy/signature-v4')>(awsLibraries(driver), '@smithy/signature-v4'),
      importDependency<typeof import('@aws-crypto/sha256-js')>(awsLibraries(driver), '@aws-crypto/sha256-js'),
    ]);
    return new SignatureV4({ service, region, credentials, sha256: Sha256, uriEscapePath: false });
  };

  return {
    sign: async ({ method, url, headers }) => {
      const covered = Object.entries(headers).filter(([name]) => SIGNED.test(name));
      const signed = await (await signature())?.sign(toRequest(method, url, Object.fromEntries(covered)));
      const { host: _host, ...rest } = signed?.headers ?? {};
      return rest;
    },
    presign: async (url, expires) => {
      const request = toRequest('GET', url, { [PAYLOAD]: 'UNSIGNED-PAYLOAD' });
      const options = {
        expiresIn: expires,
        unhoistableHeaders: NOT_IN_LINKS,
        unsignableHeaders: NOT_IN_LINKS,
      };
      const signed = await (await signature())?.presign(request, options);
      if (signed === undefined) return url;
      const link = new URL(url);
      link.search = encodeQuery(signed.query as Record<string, string>);
      return link;
    },
  };
}

function toRequest(method: string, url: URL, headers: Headers = {}) {
  return {
    method,
    protocol: url.protocol,
    hostname: url.hostname,
    path: url.pathname,
    query: { ...parse(url.search.slice(1)) } as Record<string, string>,
    headers: { ...headers, host: url.host },
  };
}
