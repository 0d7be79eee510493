/**
 * Sends requests to a bucket through the JSON API of Cloud Storage (cloud.google.com/storage/docs/json_api), uploads included.
 * Explains failures in terms of the bucket.
 */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import {
  type BufferedResponse,
  createHttpClient,
  type HttpClient,
  isLoopback,
  type RequestOptions,
  type StreamOptions,
} from '../http.ts';
import { anonymous, type Credentials, googleCredentials } from '../kit/google-credentials.ts';
import { encodeQuery, type Query } from '../kit/signed-address.ts';
import { declaration } from './declaration.ts';

/** Google's own address. */
const GOOGLE = 'https://storage.googleapis.com';
/** Reading and writing objects, and the access of others to them, which `share` gives. */
const SCOPE = 'https://www.googleapis.com/auth/devstorage.full_control';
const LOGIN_HINT =
  'log in with `gcloud auth application-default login`, or name the key file of a service account in GOOGLE_APPLICATION_CREDENTIALS';

export class Bucket {
  readonly name: string;
  /** `gs://bucket`, with the host unless that is Google. */
  readonly target: string;
  readonly base: URL;
  readonly credentials: Credentials;
  /** Whether everybody may read pushed images. */
  readonly publishes: boolean;
  /** Sends the credentials. {@link request} explains failures better. */
  readonly http: HttpClient;
  readonly #instance: string;
  readonly #project: string | undefined;
  /** Whether the bucket has asked for a project that pays. */
  #isBilled = false;

  constructor({ name: instance, options, env }: DriverContext<typeof declaration.options>) {
    const { bucket, credentials, project, base, ...choices } = options;
    if (!/^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/.test(bucket))
      throw new SregistryError('SETTINGS', `${instance}: "${bucket}" is not a valid bucket name`, {
        hint: `sregistry backend add ${instance} bucket=NAME`,
      });
    const emulator = emulatorOf(env);
    this.base = parseBase(instance, base ?? emulator ?? GOOGLE);
    this.name = bucket;
    this.target = `gs://${bucket}${this.base.origin === GOOGLE ? '' : ` at ${this.base.host}`}`;
    this.publishes = choices.private === false;
    this.#instance = instance;
    this.#project = project;
    const isEmulator = base === undefined && emulator !== undefined;
    this.credentials =
      choices.anonymous === true || isEmulator || !mayHaveTokens(this.base, credentials)
        ? anonymous
        : googleCredentials({ driver: declaration, scope: SCOPE, file: credentials, hint: LOGIN_HINT });
    this.http = createHttpClient({
      base: this.base,
      env,
      authorize: this.credentials.authorize,
      updateToken: this.credentials.updateToken,
      hints: {
        UNAUTHORIZED: LOGIN_HINT,
      },
    });
  }

  /** Path of the bucket or of something in it: `/storage/v1/b/BUCKET/o/OBJECT`. */
  path(...parts: string[]): string {
    return ['/storage/v1/b', this.name, ...parts]
      .map((part, i) => (i ? encodeURIComponent(part) : part))
      .join('/');
  }

  objectPath(object: string, ...parts: string[]): string {
    return this.path('o', object, ...parts);
  }

  /** The name of an object for messages. */
  show(object: string): string {
    return `gs://${this.name}/${object}`;
  }

  async request(
    method: string,
    path: string | URL,
    { query, ...options }: RequestOptions = {},
  ): Promise<BufferedResponse> {
    return this.#billed((extra) =>
      this.http.request(method, path, { ...options, query: { ...query, ...extra } }),
    );
  }

  async stream(path: string, query: Query, options: StreamOptions): Promise<Readable> {
    return this.#billed((extra) =>
      this.http.stream(`${path}?${encodeQuery({ ...query, ...extra })}`, options),
    );
  }

  close(): Promise<void> {
    return this.http.close();
  }

  /** Names the paying project once the bucket has asked for one ("Requester Pays"): naming it unasked needs a permission. */
  async #billed<T>(send: (extra: Query) => Promise<T>): Promise<T> {
    const query = (): Query => (this.#isBilled ? { userProject: this.#project } : {});
    try {
      return await send(query());
    } catch (error) {
      const wantsProject = isError(error) && error.status === 400 && /requester pays/i.test(error.message);
      if (!wantsProject || this.#isBilled || this.#project === undefined) throw this.#explained(error);
      this.#isBilled = true;
      return send(query());
    }
  }

  #explained(error: unknown): unknown {
    if (!isError(error)) return error;
    if (error.status === 404 && /bucket does not exist|bucket .*not found/i.test(error.message))
      return this.noSuchBucket(error);
    if (error.status === 400 && /requester pays/i.test(error.message))
      return new SregistryError(
        'SETTINGS',
        `The bucket ${this.name} requires a project that pays for requests`,
        {
          hint: `sregistry backend add ${this.#instance} project=PROJECT`,
          cause: error,
        },
      );
    return error;
  }

  noSuchBucket(cause?: unknown): SregistryError {
    const project = this.#project === undefined ? '' : ` --project=${this.#project}`;
    return new SregistryError('SETTINGS', `There is no bucket ${this.name} at ${this.base.host}`, {
      hint: `create it: gcloud storage buckets create gs://${this.name}${project} --uniform-bucket-level-access`,
      cause,
    });
  }
}

/** `STORAGE_EMULATOR_HOST`, which Google's own libraries honour: an address or a host. */
function emulatorOf(env: NodeJS.ProcessEnv): string | undefined {
  const host = env.STORAGE_EMULATOR_HOST;
  if (!host) return undefined;
  return /^https?:\/\//.test(host) ? host : `http://${host}`;
}

function parseBase(instance: string, text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new SregistryError('SETTINGS', `${instance}: base is not an http or https address: ${text}`, {
      hint: `such as ${GOOGLE}`,
    });
  return new URL(url.origin);
}

/** Whether requests may carry tokens: over https, or to a server on this machine if the option `credentials` is set. */
function mayHaveTokens(base: URL, credentials: string | undefined): boolean {
  return base.protocol === 'https:' || (isLoopback(base.host) && credentials !== undefined);
}
