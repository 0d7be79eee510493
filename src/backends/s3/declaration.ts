/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 's3',
  title: 'Amazon S3 and compatible services (Ceph, MinIO, R2, Wasabi, ...)',
  aliases: ['s3'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  dependencies: [
    { module: '@smithy/signature-v4', version: '^5.7.5', purpose: 'to sign requests' },
    { module: '@aws-crypto/sha256-js', version: '^5.2.0', purpose: 'to sign requests' },
    {
      module: '@aws-sdk/credential-provider-node',
      version: '^3.972.97',
      purpose: 'to find credentials as AWS does',
    },
    { module: '@aws-sdk/credential-provider-ini', version: '^3.973.30', purpose: 'to read profiles of AWS' },
  ],
  options: {
    bucket: {
      env: 'SREGISTRY_S3_BUCKET',
      describe: 'Bucket with the images',
      required: true,
      example: 'containers',
    },
    base: {
      env: ['SREGISTRY_S3_BASE', 'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'],
      describe: 'Address of the service. Default: Amazon',
      type: 'url',
      example: 'https://s3.example.org',
    },
    region: {
      env: ['AWS_REGION', 'AWS_DEFAULT_REGION'],
      describe: 'Region of the bucket. Default: the one the service names',
      example: 'eu-central-1',
    },
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
    signature: {
      env: 'SREGISTRY_S3_SIGNATURE',
      describe: 'How to sign requests. none sends them unsigned; s3 means s3v4',
      choices: ['s3v4', 's3', 'none'],
      default: 's3v4',
    },
    addressing: {
      describe: 'Where addresses name the bucket: in the path, or before the host (virtual)',
      choices: ['auto', 'path', 'virtual'],
      default: 'auto',
    },
    acl: {
      env: 'SREGISTRY_S3_OBJECT_ACL',
      describe: 'Canned access control list of pushed images. Default: that of the bucket',
      example: 'public-read',
    },
  },
} as const;
