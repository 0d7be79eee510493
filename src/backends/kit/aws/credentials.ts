/**
 * Finds the credentials for requests: the access key in the settings, else what AWS's own tools would use (environment, profiles,
 * SSO, roles of containers and machines). Without any, requests are not signed. Loads AWS's libraries on first use.
 */
import { describeError, isError, SregistryError } from '../../../base/errors.ts';
import { debugLog, registerSecret } from '../../../log/index.ts';
import { importDependency } from '../../optional.ts';
import { Renewable } from '../renewable.ts';
import { type AwsOptions, awsLibraries } from './declaration.ts';

const debug = debugLog('aws');

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When a temporary key expires. */
  readonly expiration?: Date;
}

/** Undefined: requests are not signed. `renew` discards the credentials returned before. */
export type CredentialSource = (how?: { readonly renew: boolean }) => Promise<Credentials | undefined>;

/** Milliseconds before a temporary key expires at which it is replaced. */
const MARGIN = 300_000;
/** Milliseconds to keep keys without an expiry, and the absence of keys: files may change. */
const LIFETIME = 60_000;
/** Message of @aws-sdk/credential-provider-node if its default chain finds no credentials. */
const NONE = 'Could not load credentials from any providers';

/**
 * @param isAmazon other services get only keys from settings and profiles: a key that a machine got for Amazon works only there.
 */
export function credentialSource(
  { driver, instance }: { readonly driver: string; readonly instance: string },
  { accessKeyId, secretAccessKey, sessionToken, profile }: AwsOptions,
  isAmazon: boolean,
): CredentialSource {
  if (accessKeyId !== undefined && secretAccessKey !== undefined)
    return async () => ({ accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) });
  if (accessKeyId !== undefined || secretAccessKey !== undefined)
    throw new SregistryError('SETTINGS', `${instance}: set both accessKeyId and secretAccessKey`, {
      hint: `sregistry auth login ${instance}`,
    });

  const known = new Renewable<Credentials | undefined>({
    lifetime: (found) => (found?.expiration ? found.expiration.getTime() - Date.now() - MARGIN : LIFETIME),
  });
  return ({ renew } = { renew: false }) => {
    if (renew) known.forget();
    return known.get('credentials', () => findCredentials(driver, instance, profile, isAmazon));
  };
}

async function findCredentials(
  driver: string,
  instance: string,
  profile: string | undefined,
  isAmazon: boolean,
): Promise<Credentials | undefined> {
  try {
    const found = await askProviders(driver, profile, isAmazon);
    registerSecret(found.secretAccessKey);
    if (found.sessionToken) registerSecret(found.sessionToken);
    return found;
  } catch (error) {
    if (isError(error, 'MISSING_DEPENDENCY')) throw error;
    const isNone = (error as { tryNextLink?: boolean }).tryNextLink || (error as Error).message === NONE;
    if (isNone && profile === undefined) {
      debug('%s: no credentials, requests are not signed: %s', instance, describeError(error));
      return undefined;
    }
    throw new SregistryError('UNAUTHORIZED', `${instance}: cannot get credentials from AWS's configuration`, {
      hint: `try \`aws sso login\`, or see what \`aws sts get-caller-identity\` says${profile ? ` with --profile ${profile}` : ''}`,
      cause: error,
    });
  }
}

/** The providers read the environment of the process, as AWS's own tools do. */
async function askProviders(
  driver: string,
  profile: string | undefined,
  isAmazon: boolean,
): Promise<Credentials> {
  const init = { ignoreCache: true, logger: LOGGER, ...(profile === undefined ? {} : { profile }) };
  if (isAmazon) {
    const { defaultProvider } = await importDependency<typeof import('@aws-sdk/credential-provider-node')>(
      awsLibraries(driver),
      '@aws-sdk/credential-provider-node',
    );
    return defaultProvider(init)();
  }
  const { fromIni } = await importDependency<typeof import('@aws-sdk/credential-provider-ini')>(
    awsLibraries(driver),
    '@aws-sdk/credential-provider-ini',
  );
  return fromIni(init)();
}

const trace = (...said: unknown[]) => debug('%s', said.map(String).join(' '));
/** Sends the providers' messages to our log instead of the console. */
const LOGGER = { trace, debug: trace, info: trace, warn: trace, error: trace };
