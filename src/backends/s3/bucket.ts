/**
 * Sends requests to a bucket: builds the address, signs, and interprets S3's failures. If the service says that the bucket is in
 * another region or that a token has expired, remembers the right region or gets new credentials, and sends the request once
 * more.
 */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { DriverContext } from '../backend.ts';
import {
  type BufferedResponse,
  createHttpClient,
  type Headers,
  type HttpClient,
  type RequestOptions,
  type StreamOptions,
} from '../http.ts';
import { type CredentialSource, credentialSource } from '../kit/aws/credentials.ts';
import { createSigner, type Signer } from '../kit/aws/signer.ts';
import type { Query } from '../kit/signed-address.ts';
import type { declaration } from './declaration.ts';
import { addressOf, type Endpoint, endpointOf } from './endpoint.ts';
import { interpretFailure, S3Error } from './failure.ts';

const debug = debugLog('s3');

export interface BucketRequest extends Omit<RequestOptions, 'query' | 'json'> {
  readonly query?: Query | undefined;
}

/** What requests to one region need. */
interface Connection {
  readonly region: string;
  readonly address: URL;
  readonly http: HttpClient;
  readonly signer: Signer;
}

/** Statuses of replies to an anonymous request that may still name the region. */
const REGION_STATUSES = [301, 307, 400, 403, 404];
/** Error codes for an address or a signature of the wrong region. */
const MOVED = ['AuthorizationHeaderMalformed', 'IllegalLocationConstraintException', 'PermanentRedirect'];
const EXPIRED = ['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired'];

export class Bucket {
  readonly instance: string;
  readonly endpoint: Endpoint;
  /** Headers of every new object. */
  readonly objectHeaders: Headers;
  /** Whether the bucket keeps versions. Undefined until first asked. */
  versioned: boolean | undefined;
  readonly #env: NodeJS.ProcessEnv;
  readonly #credentials: CredentialSource;
  readonly #connections: Connection[] = [];

  constructor({ name: instance, options, env }: DriverContext<typeof declaration.options>) {
    if (options.acl !== undefined && !/^[a-z-]+$/.test(options.acl))
      throw new SregistryError(
        'SETTINGS',
        `${instance}: acl is not a canned access control list: ${options.acl}`,
        {
          hint: 'such as private, public-read, bucket-owner-full-control',
        },
      );
    this.instance = instance;
    this.endpoint = endpointOf(instance, options);
    this.objectHeaders = options.acl === undefined ? {} : { 'x-amz-acl': options.acl };
    this.#env = env;
    this.#credentials =
      options.signature === 'none'
        ? async () => undefined
        : credentialSource({ driver: 's3', instance }, options, this.endpoint.isAmazon);
    this.#connect(this.endpoint.region);
  }

  /** Sends a request about an object, or about the bucket if the key is `''`. */
  async request(method: string, key: string, options: BucketRequest = {}): Promise<BufferedResponse> {
    const { query, ...rest } = options;
    return this.#send(
      ({ http, address }) => http.request(method, addressOf(address, key, query), rest),
      rest.signal,
    );
  }

  async stream(key: string, options: StreamOptions & { readonly query?: Query }): Promise<Readable> {
    const { query, ...rest } = options;
    return this.#send(({ http, address }) => http.stream(addressOf(address, key, query), rest), rest.signal);
  }

  /** A link that lets anybody GET an object for `expires` seconds. */
  async presign(key: string, query: Query, expires: number, signal?: AbortSignal): Promise<string> {
    // Only a reply tells whether the region is right.
    await this.request('HEAD', key, { query, signal });
    const { signer, address } = this.#connection();
    return (await signer.presign(addressOf(address, key, query), expires)).href;
  }

  /** The HTTP client of the current region. It signs its requests. */
  get http(): HttpClient {
    return this.#connection().http;
  }

  /** The name of an object or of the bucket for messages. */
  show(key: string): string {
    return key === '' ? this.endpoint.target : `${this.endpoint.target}/${key}`;
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map(({ http }) => http.close()));
  }

  #connection(): Connection {
    return this.#connections.at(-1) as Connection;
  }

  #connect(region: string): void {
    const signer = createSigner({ driver: 's3', service: 's3', region }, this.#credentials);
    const address = this.endpoint.addressIn(region);
    const http = createHttpClient({
      base: address,
      env: this.#env,
      authorize: signer.sign,
      interpret: interpretFailure,
      hints: {
        UNAUTHORIZED: `check the access key: \`sregistry auth login ${this.instance}\``,
        FORBIDDEN:
          'the access key lacks a permission. Without the permission to list, S3 calls absent objects forbidden',
      },
    });
    this.#connections.push({ region, address, http, signer });
  }

  async #send<T>(request: (connection: Connection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const used = this.#connection();
    try {
      return await request(used).catch(async (error: unknown) => {
        if (await this.#recovers(error, used, signal)) return request(this.#connection());
        throw error;
      });
    } catch (error) {
      throw error instanceof S3Error && error.said === 'NoSuchBucket' ? this.noSuchBucket(error) : error;
    }
  }

  async #recovers(error: unknown, used: Connection, signal?: AbortSignal): Promise<boolean> {
    if (!(error instanceof S3Error)) return false;
    const { said, status } = error;
    // A reply to HEAD has no error code: status 400 may mean either.
    const isElsewhere = said === undefined ? status === 301 || status === 400 : MOVED.includes(said);
    const isExpired = said === undefined ? status === 400 : EXPIRED.includes(said);
    if (isElsewhere && (await this.#moves(error, used, signal))) return true;
    return isExpired && (await this.#renews());
  }

  /** Switches to the bucket's region. False if that is unknown or already in use. */
  async #moves(error: S3Error, used: Connection, signal?: AbortSignal): Promise<boolean> {
    // Another request may have switched meanwhile.
    if (used !== this.#connection()) return true;
    const region = error.region ?? (await this.#askRegion(signal));
    if (region === undefined || region === used.region || !/^[a-z0-9-]{1,64}$/i.test(region)) return false;
    debug('%s is in %s, not in %s', this.endpoint.bucket, region, used.region);
    this.#connect(region);
    return true;
  }

  async #renews(): Promise<boolean> {
    const before = await this.#credentials();
    const after = await this.#credentials({ renew: true });
    return after?.sessionToken !== before?.sessionToken;
  }

  /** The region of the bucket. Amazon names it without a login ("HeadBucket", Amazon S3 API Reference). */
  async #askRegion(signal?: AbortSignal): Promise<string | undefined> {
    const http = createHttpClient({ env: this.#env });
    try {
      const { headers } = await http.head(this.#connection().address, { signal, allow: REGION_STATUSES });
      return headers['x-amz-bucket-region'];
    } finally {
      await http.close();
    }
  }

  noSuchBucket(cause: SregistryError): SregistryError {
    const { bucket, target, isAmazon } = this.endpoint;
    const endpoint = isAmazon ? '' : ` --endpoint-url ${target.slice(0, -bucket.length - 1)}`;
    return new SregistryError('SETTINGS', `${this.instance}: there is no bucket ${bucket}`, {
      hint: `create it (aws s3 mb s3://${bucket}${endpoint}), or name another: sregistry backend add ${this.instance} bucket=NAME`,
      cause,
    });
  }
}
