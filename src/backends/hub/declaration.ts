/** The driver's declaration, separate from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'hub',
  title: 'Singularity Hub, a read-only archive, or another server with its API',
  aliases: ['hub', 'shub'],
  capabilities: ['list', 'search', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_HUB_BASE',
      describe: 'Address of the API',
      type: 'url',
      default: 'https://singularity-hub.org/api',
      example: 'https://hub.example.org/api',
    },
  },
} as const;
