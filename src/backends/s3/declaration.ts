/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
import { AWS_DEPENDENCIES, AWS_OPTIONS } from '../kit/aws/declaration.ts';

export const declaration = {
  name: 's3',
  title: 'Amazon S3 and compatible services (Ceph, MinIO, R2, Wasabi, ...)',
  aliases: ['s3'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  dependencies: AWS_DEPENDENCIES,
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
    ...AWS_OPTIONS,
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
