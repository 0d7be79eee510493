import { ARCH_OPTION } from '../kit/arch-option.ts';
import { AWS_DEPENDENCIES, AWS_OPTIONS } from '../kit/aws/declaration.ts';
import { SOCI_OPTION } from '../oci/soci-option.ts';

export const declaration = {
  name: 'aws',
  title: 'Amazon ECR, private and public',
  aliases: ['aws', 'ecr'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  dependencies: AWS_DEPENDENCIES,
  options: {
    account: {
      env: ['SREGISTRY_AWS_ID', 'AWS_ACCOUNT_ID'],
      describe: 'Number of the account that owns the registry; public for public.ecr.aws',
      required: true,
      example: '123456789012',
    },
    region: {
      env: ['SREGISTRY_AWS_ZONE', 'AWS_REGION', 'AWS_DEFAULT_REGION'],
      describe: 'Region of the registry',
      default: 'us-east-1',
      example: 'eu-central-1',
    },
    ...AWS_OPTIONS,
    accessKeyId: {
      ...AWS_OPTIONS.accessKeyId,
      env: ['SREGISTRY_AWS_KEY', 'AWS_ACCESS_KEY_ID'],
      describe:
        "Access key. Default: AWS's own configuration, else the logins of apptainer, docker and podman",
    },
    secretAccessKey: {
      ...AWS_OPTIONS.secretAccessKey,
      env: ['SREGISTRY_AWS_SECRET', 'AWS_SECRET_ACCESS_KEY'],
    },
    create: {
      describe: 'Whether a push makes a repository that does not exist',
      type: 'boolean',
      default: 'yes',
    },
    base: {
      env: 'SREGISTRY_AWS_BASE',
      describe: 'Address of the registry. Default: that of account and region',
      example: 'https://vpce-0a1b2c.dkr.ecr.eu-central-1.vpce.amazonaws.com',
    },
    endpoint: {
      env: ['AWS_ENDPOINT_URL_ECR', 'AWS_ENDPOINT_URL'],
      describe: "Address of ECR's API. Default: that of the region",
      type: 'url',
      example: 'https://ecr.example.org',
    },
    arch: { ...ARCH_OPTION, env: 'SREGISTRY_AWS_ARCH' },
    soci: SOCI_OPTION,
    nohttps: {
      env: 'SREGISTRY_AWS_NOHTTPS',
      describe: 'Use plain http. Default: only on the loopback',
      type: 'boolean',
    },
  },
} as const;
