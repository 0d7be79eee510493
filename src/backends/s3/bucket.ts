/**
 * Requests to a bucket: addressed, signed, and read as S3 means them. Two things are found out on the way and remembered: the
 * region, when the service says that it is another one, and new credentials, when it says that a token has ended. The
 * request is then sent again, once.
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
import type { Query } from '../kit/signed-address.ts';
import { type CredentialSource, credentialSource } from './credentials.ts';
import type { declaration } from './declaration.ts';
import { addressOf, type Endpoint, endpointOf } from './endpoint.ts';
import { interpretFailure, S3Error } from './failure.ts';
import { createSigner, type Signer } from './signer.ts';

const debug = debugLog('s3');

export interface BucketRequest extends Omit<RequestOptions, 'query' | 'json'> {
  readonly query?: Query | undefined;
}

/** How the bucket is spoken to in one region. */
interface Connection {
  readonly region: string;
  readonly address: URL;
  readonly http: HttpClient;
  readonly signer: Signer;
}

/** Answers to a request of nobody that name the region all the same. */
const TELLING = [301, 307, 400, 403, 404];
/** What the service says where the address or the signature is for another region. */
const ELSEWHERE = ['AuthorizationHeaderMalformed', 'IllegalLocationConstraintException', 'PermanentRedirect'];
const EXPIRED = ['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired'];

export class Bucket {
  readonly instance: string;
  readonly endpoint: Endpoint;
  /** Headers of every object that is made. */
  readonly objectHeaders: Headers;
  /** Does it keep versions? Undefined until somebody asked. */
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
    this.#credentials = credentialSource(instance, options, this.endpoint.isAmazon);
    this.#connect(this.endpoint.region);
  }

  /** A request about an object, or about the bucket for the key `''`. */
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

  /** A link to an object that anybody can GET for so many seconds. */
  async presign(key: string, query: Query, expires: number, signal?: AbortSignal): Promise<string> {
    // Only an answer tells whether this is the right region.
    await this.request('HEAD', key, { query, signal });
    const { signer, address } = this.#connection();
    return (await signer.presign(addressOf(address, key, query), expires)).href;
  }

  /** What the bucket is spoken to with, signatures included. */
  get http(): HttpClient {
    return this.#connection().http;
  }

  /** What names a thing of the bucket in messages. */
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
    const signer = createSigner(region, this.#credentials);
    const address = this.endpoint.addressIn(region);
    const http = createHttpClient({
      base: address,
      env: this.#env,
      authorize: signer.sign,
      interpret: interpretFailure,
      hints: {
        UNAUTHORIZED: `check the access key: \`sregistry auth login ${this.instance}\``,
        FORBIDDEN:
          'this access key, or nobody, is not allowed to; where it may not list, absent counts as forbidden, too',
      },
    });
    this.#connections.push({ region, address, http, signer });
  }

  async #send<T>(request: (connection: Connection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const used = this.#connection();
    try {
      return await request(used).catch(async (error: unknown) => {
        if (await this.#isMended(error, used, signal)) return request(this.#connection());
        throw error;
      });
    } catch (error) {
      throw error instanceof S3Error && error.said === 'NoSuchBucket' ? this.noSuchBucket(error) : error;
    }
  }

  async #isMended(error: unknown, used: Connection, signal?: AbortSignal): Promise<boolean> {
    if (!(error instanceof S3Error)) return false;
    const { said, status } = error;
    // An answer to HEAD gives no code: a status of 400 may mean either.
    const isElsewhere = said === undefined ? status === 301 || status === 400 : ELSEWHERE.includes(said);
    const isExpired = said === undefined ? status === 400 : EXPIRED.includes(said);
    if (isElsewhere && (await this.#moves(error, used, signal))) return true;
    return isExpired && (await this.#renews());
  }

  /** Goes to the region where the bucket is, if that is another one. */
  async #moves(error: S3Error, used: Connection, signal?: AbortSignal): Promise<boolean> {
    // Another request may have found it out meanwhile.
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

  /** The region of the bucket, which Amazon tells everybody ("HeadBucket", Amazon S3 API Reference). */
  async #askRegion(signal?: AbortSignal): Promise<string | undefined> {
    const http = createHttpClient({ env: this.#env });
    try {
      const { headers } = await http.head(this.#connection().address, { signal, allow: TELLING });
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
