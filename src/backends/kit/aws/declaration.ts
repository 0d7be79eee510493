/** What the drivers of Amazon's services declare in common: their credentials, and AWS's libraries. */
import type { OptionValues } from '../../../settings/options.ts';

export const AWS_DEPENDENCIES = [
  { module: '@smithy/signature-v4', version: '^5.7.5', purpose: 'to sign requests' },
  { module: '@aws-crypto/sha256-js', version: '^5.2.0', purpose: 'to sign requests' },
  {
    module: '@aws-sdk/credential-provider-node',
    version: '^3.972.97',
    purpose: 'to find credentials as AWS does',
  },
  { module: '@aws-sdk/credential-provider-ini', version: '^3.973.30', purpose: 'to read profiles of AWS' },
] as const;

/** For `importDependency`. */
export const awsLibraries = (driver: string) => ({ name: driver, dependencies: AWS_DEPENDENCIES });

export const AWS_OPTIONS = {
  accessKeyId: {
    env: 'AWS_ACCESS_KEY_ID',
    describe: "Access key. Default: AWS's own configuration, else none: requests are not signed",
  },
  secretAccessKey: { env: 'AWS_SECRET_ACCESS_KEY', describe: 'Secret of the access key', secret: true },
  sessionToken: {
    env: 'AWS_SESSION_TOKEN',
    describe: 'Token of a temporary access key',
    secret: true,
  },
  profile: { env: 'AWS_PROFILE', describe: 'Profile in ~/.aws/config and ~/.aws/credentials' },
} as const;

export type AwsOptions = OptionValues<typeof AWS_OPTIONS>;
