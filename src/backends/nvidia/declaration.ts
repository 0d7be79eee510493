import { ARCH_OPTION } from '../kit/arch-option.ts';
import { SOCI_OPTION } from '../oci/soci-option.ts';

export const declaration = {
  name: 'nvidia',
  title: 'NVIDIA NGC (nvcr.io)',
  aliases: ['nvidia'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  options: {
    token: {
      env: ['SREGISTRY_NVIDIA_TOKEN', 'NGC_API_KEY'],
      describe: 'API key of NGC',
      required: true,
      secret: true,
    },
    username: {
      env: 'SREGISTRY_NVIDIA_USERNAME',
      describe: 'User; API keys have no other',
      default: '$oauthtoken',
    },
    base: {
      env: 'SREGISTRY_NVIDIA_BASE',
      describe: 'Address of the registry',
      default: 'nvcr.io',
    },
    arch: { ...ARCH_OPTION, env: 'SREGISTRY_NVIDIA_ARCH' },
    soci: SOCI_OPTION,
    nohttps: {
      env: 'SREGISTRY_NVIDIA_NOHTTPS',
      describe: 'Use plain http. Default: only on the loopback',
      type: 'boolean',
    },
  },
} as const;
