/**
 * Gets access tokens with Google's own library: from the file of a service account, a user's login with gcloud, a workload
 * identity, or the metadata server of a machine in Google's cloud. The first request loads the library, which keeps a token until
 * shortly before it expires. Without any credentials, requests are anonymous: public buckets answer them.
 */
import { sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { AuthClient } from 'google-auth-library';
import { describeError, isError, SregistryError, systemCode } from '../../base/errors.ts';
import { debugLog, registerSecret } from '../../log/index.ts';
import type { Driver } from '../backend.ts';
import type { Headers, Refusal } from '../http.ts';
import { importDependency } from '../optional.ts';
import { Renewable } from './renewable.ts';

const debug = debugLog('google');

export interface Credentials {
  authorize(): Promise<Headers>;
  updateToken(refusal: Refusal): Promise<boolean>;
  /** The key of a service account; undefined unless its file is on this machine. */
  signer(): Promise<Signer | undefined>;
}

export interface Signer {
  /** The service account. */
  readonly email: string;
  /** RSA signature with SHA-256 (RSASSA-PKCS1-v1_5), in hexadecimal. */
  sign(text: string): string;
}

export interface GoogleCredentialsOptions {
  /** Declares `google-auth-library`. */
  readonly driver: Pick<Driver, 'name' | 'dependencies'>;
  /** The scope of the tokens: an address below `www.googleapis.com/auth`. */
  readonly scope: string;
  /** Default: what the library finds on this machine. */
  readonly file?: string | undefined;
  /** Hint of the errors: what a person does to log in. */
  readonly hint: string;
}

/** Seconds that Google's tokens live. */
const TOKEN_LIFETIME = 3600;
/** Milliseconds for a request to a token service. */
const TOKEN_TIMEOUT = 30_000;

export const anonymous: Credentials = {
  authorize: async () => ({}),
  updateToken: async () => false,
  signer: async () => undefined,
};

export function googleCredentials(options: GoogleCredentialsOptions): Credentials {
  const clients = new Renewable<AuthClient | undefined>({ lifetime: Number.POSITIVE_INFINITY });
  const get = () => clients.get('client', () => findClient(options));
  const authorize = async (): Promise<Headers> => {
    const found = await get();
    if (found === undefined) return {};
    const headers = Object.fromEntries(await asked(found.getRequestHeaders(), options));
    registerSecret(headers.authorization?.replace(/^Bearer /, '') ?? '', TOKEN_LIFETIME);
    return headers;
  };
  return {
    authorize,
    updateToken: async ({ credentials }) => {
      // The library keeps its token until it expires; a new client gets a new token.
      if ((await authorize()).authorization === credentials.authorization) clients.forget();
      return (await authorize()).authorization !== credentials.authorization;
    },
    signer: async () => signerOf(await get()),
  };
}

/** Undefined where there are no credentials on this machine. */
async function findClient({
  driver,
  scope,
  file,
  hint,
}: GoogleCredentialsOptions): Promise<AuthClient | undefined> {
  const { GoogleAuth } = await importDependency<typeof import('google-auth-library')>(
    driver,
    'google-auth-library',
  );
  try {
    const auth = new GoogleAuth({
      scopes: scope,
      clientOptions: { transporterOptions: { timeout: TOKEN_TIMEOUT } },
      // The library would accept a file that is not JSON as a key without an account.
      ...(file !== undefined && { credentials: JSON.parse(await readFile(file, 'utf8')) }),
    });
    return await auth.getClient();
  } catch (error) {
    if (file === undefined && /default credentials/i.test(String((error as Error).message))) {
      debug('no credentials: requests are anonymous');
      return undefined;
    }
    throw new SregistryError('SETTINGS', `The Google credentials cannot be used: ${describeError(error)}`, {
      hint,
      cause: error,
    });
  }
}

const NETWORK = /^(E[A-Z]+|UND_ERR_.*)$/;

async function asked<T>(token: Promise<T>, { hint }: GoogleCredentialsOptions): Promise<T> {
  try {
    return await token;
  } catch (error) {
    if (isError(error)) throw error;
    const { response } = error as { response?: { status?: number } };
    const isOffline = response === undefined && NETWORK.test(systemCode(error) ?? '');
    throw new SregistryError(
      isOffline ? 'UNREACHABLE' : 'UNAUTHORIZED',
      `Cannot get an access token from Google: ${describeError(error)}`,
      {
        hint: isOffline ? 'check the network and the proxy settings' : hint,
        cause: error,
      },
    );
  }
}

function signerOf(client: AuthClient | undefined): Signer | undefined {
  const { email, key } = (client ?? {}) as { email?: unknown; key?: unknown };
  if (typeof email !== 'string' || typeof key !== 'string') return undefined;
  return { email, sign: (text) => sign('RSA-SHA256', Buffer.from(text), key).toString('hex') };
}
