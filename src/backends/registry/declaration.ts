export const declaration = {
  name: 'registry',
  title: 'Singularity Registry Server',
  aliases: ['registry'],
  capabilities: ['list', 'push', 'search', 'remove', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_REGISTRY_BASE',
      describe: 'Address of the server, with or without https:// and /api',
      required: true,
      example: 'https://containers.example.org',
    },
    username: { env: 'SREGISTRY_REGISTRY_USERNAME', describe: 'User on that server' },
    token: {
      env: 'SREGISTRY_REGISTRY_TOKEN',
      describe: "Token of that user, from the server's page /token",
      secret: true,
    },
    nohttps: {
      env: 'SREGISTRY_REGISTRY_NOHTTPS',
      describe: 'Use http for an address without a scheme',
      type: 'boolean',
    },
  },
} as const;
