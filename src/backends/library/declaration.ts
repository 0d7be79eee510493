import { ARCH_OPTION } from '../kit/arch-option.ts';

export const declaration = {
  name: 'library',
  title: 'Library API: Sylabs cloud, Hinkskalle, Singularity Registry Server',
  aliases: ['library'],
  capabilities: ['list', 'push', 'search', 'remove', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_LIBRARY_BASE',
      describe: 'Address of the library, as for `apptainer pull --library`',
      type: 'url',
      default: 'https://library.sylabs.io',
      example: 'https://library.example.org',
    },
    token: {
      env: 'SREGISTRY_LIBRARY_TOKEN',
      describe: "Access token; default: the token of `apptainer remote login` for the library's remote",
      secret: true,
    },
    arch: { ...ARCH_OPTION, env: 'SREGISTRY_LIBRARY_ARCH' },
  },
} as const;
